// Small comforts: the button between light and dark (the reader's system decides at first), and the films.
(() => {
  "use strict";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  // A film that appears twice is in the page once.
  document.querySelectorAll("video[data-same]").forEach((video) => {
    video.src = document.getElementById(video.dataset.same).src;
  });
  // Films out of sight stand still.
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) target.play().catch(() => {});
      else target.pause();
    }
  });
  document.querySelectorAll("video").forEach((video) => watcher.observe(video));
})();
