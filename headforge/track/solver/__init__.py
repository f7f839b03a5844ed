"""The Levenberg-Marquardt solver that all trackers share."""
