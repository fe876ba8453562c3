// Runs before anything is painted, so that no page flashes in the other theme.
(function () {
  "use strict";
  const wanted = window.matchMedia("(prefers-color-scheme: dark)");
  function kept() {
    try {
      return localStorage.getItem("modeltrack_theme");
    } catch {
      return null; // storage is off: the system's own preference counts
    }
  }
  function apply() {
    const theme = kept();
    const isDark = theme ? theme === "dark" : wanted.matches;
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  }
  wanted.addEventListener("change", () => {
    apply();
    document.dispatchEvent(new CustomEvent("modeltrack:theme"));
  });
  document.addEventListener("click", (event) => {
    const toggle = event.target instanceof Element && event.target.closest("[data-theme-toggle]");
    if (!toggle) return;
    event.preventDefault();
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("modeltrack_theme", next);
    } catch {
      // it holds for this page, then
    }
    document.documentElement.dataset.theme = next;
    document.dispatchEvent(new CustomEvent("modeltrack:theme"));
  });
  apply();
})();
