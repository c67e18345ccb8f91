// Small comforts on top of pages that work without any script.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  // A changed choice of order applies at once; its button is for browsers without script.
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field instanceof Element && field.matches("[data-submit-on-change]")) field.form.requestSubmit();
  });

  // Suggestions close on Escape and when the keyboard or the mouse goes elsewhere.
  const suggestions = document.getElementById("suggestions");
  const close = () => suggestions && suggestions.replaceChildren();
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    close();
    document.getElementById("toast")?.replaceChildren();
  });
  document.addEventListener("focusin", (event) => {
    if (!event.target.closest(".find")) close();
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".find")) close();
    if (event.target.closest("[data-close-toast]")) document.getElementById("toast").replaceChildren();
  });

  // What was added is said for a while, and longer for as long as somebody is at it.
  const toast = document.getElementById("toast");
  let leave;
  const stay = () => {
    clearTimeout(leave);
    if (!toast.firstElementChild) return;
    leave = setTimeout(() => (toast.matches(":hover, :focus-within") ? stay() : toast.replaceChildren()), 8000);
  };
  new MutationObserver(stay).observe(toast, { childList: true });

  // An order is sent once, however often its button is pressed; the server would know too.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-send-once]")) return;
    if (form.classList.contains("is-sending")) return event.preventDefault();
    const button = event.submitter;
    if (!button || button.hasAttribute("data-again")) return;
    form.classList.add("is-sending");
    if (button.dataset.busy) button.textContent = button.dataset.busy;
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && document.querySelector(".is-sending")) window.location.reload();
  });

  // After a refused form the keyboard starts at the first field that needs a look.
  document.querySelector("[data-errors]")?.focus();
})();
