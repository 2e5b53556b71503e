/* Light and dark: as the system has it, until somebody chooses. In the head, so that no page flashes. */
(function () {
  "use strict";
  var root = document.documentElement, KEY = "bcfl-theme";
  function kept() { try { return localStorage.getItem(KEY); } catch (error) { return null; } }
  function system() { return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"; }
  function apply(theme) { root.dataset.theme = theme === "dark" || theme === "light" ? theme : system(); }
  function announce() { root.dispatchEvent(new CustomEvent("bcfl-theme")); }
  function label(button) {
    var other = root.dataset.theme === "dark" ? "light" : "dark";
    button.hidden = false;
    button.setAttribute("aria-label", "Switch to " + other + " colours");
    button.title = "Switch to " + other + " colours";
  }
  apply(kept());
  root.dataset.script = "on";
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { apply(kept()); announce(); });
  document.addEventListener("DOMContentLoaded", function () {
    var button = document.querySelector("[data-theme-switch]");
    if (!button) { return; }
    label(button);
    root.addEventListener("bcfl-theme", function () { label(button); });
    button.addEventListener("click", function () {
      var theme = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem(KEY, theme); } catch (error) { /* a file may keep nothing */ }
      apply(theme);
      announce();
    });
  });
  /* Paper is light. */
  var before = null;
  addEventListener("beforeprint", function () { before = root.dataset.theme; root.dataset.theme = "light"; announce(); });
  addEventListener("afterprint", function () { if (before) { root.dataset.theme = before; announce(); } });
})();
