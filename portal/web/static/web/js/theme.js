// Runs before the first paint (a plain script in <head>), so that a dark page never flashes white.
(() => {
  const key = "ragkeep-theme";
  const root = document.documentElement;
  const read = () => { try { return localStorage.getItem(key) || "system"; } catch { return "system"; } };
  const paint = (theme) => {
    if (theme === "system") root.removeAttribute("data-theme");
    else root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
    }
  };
  paint(read());
  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll(".theme")) group.classList.add("is-ready");
    paint(read());
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-choice]");
    if (!button) return;
    try { localStorage.setItem(key, button.dataset.themeChoice); } catch { /* private mode: this page only */ }
    paint(button.dataset.themeChoice);
  });
})();
