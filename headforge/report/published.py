"""Values printed in the papers headforge implements, for orientation only.

They were measured on other data, at other resolutions and with other networks: none may be compared with a result
of headforge.
"""

from __future__ import annotations

from headforge.report.blocks import Table

WARNING = (
    "These numbers come from the papers. Other datasets, resolutions, crops, head regions and embedding networks: none "
    "of them can be compared with the results above, nor one table here with another."
)


def published_tables() -> tuple[Table, ...]:
    """Return a table per paper, with the measurement protocol in its caption."""
    return (
        Table(
            ("Learn2Control: NeRSemble, self-reenactment", "PSNR", "SSIM", "LPIPS", "CSIM", "AED"),
            (
                ("ROME", "24.06", ".892", ".155", ".331", ".216"),
                ("Portrait4D-v2", "25.56", ".892", ".134", ".495", ".224"),
                ("GAGAvatar", "25.19", ".902", ".144", ".450", ".231"),
                ("Learn2Control", "26.78", ".905", ".119", ".702", ".164"),
            ),
            "Last 20 NeRSemble subjects, two sequences each, head region only.",
        ),
        Table(
            ("FaceCraft4D: MEAD", "PSNR", "SSIM", "LPIPS", "ID"),
            (
                ("Portrait3D", "9.51", ".5622", ".5275", ".2646"),
                ("SV3D", "13.54", ".6893", ".3174", ".7622"),
                ("PanoHead", "15.37", ".7342", ".2104", ".7981"),
                ("FaceCraft4D", "15.74", ".7495", ".2010", ".8006"),
            ),
            "MEAD, unseen views mainly between 60° and 180°.",
        ),
        Table(
            ("GOHA: HDTF, same identity", "PSNR", "SSIM", "CSIM", "AED", "LPIPS"),
            (
                ("Next3D-PTI", "19.89", ".813", ".645", ".137", ".180"),
                ("GOHA", "22.15", ".868", ".789", ".129", ".117"),
            ),
            "HDTF reconstruction, the paper's supplement.",
        ),
        Table(
            ("Zero-1-to-A: CLIP score", "L/14", "B/16", "B/32"),
            (
                ("HeadStudio", ".275", ".322", ".317"),
                ("Zero-1-to-A", ".285", ".320", ".322"),
            ),
            "Agreement of renders with their text prompts.",
        ),
    )
