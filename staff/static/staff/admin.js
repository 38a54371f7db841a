// What pages of the admin do besides: parts that stay current, and names for what the theme's scripts draw.
(() => {
  "use strict";

  // A part with data-live="10" is fetched again every so many seconds, and changed where it is: the focus stays.
  const keepCurrent = () => {
    const seconds = Math.min(...[...document.querySelectorAll("[data-live]")].map((part) => Number(part.dataset.live)));
    if (!Number.isFinite(seconds)) return;
    window.setTimeout(async () => {
      try {
        const answer = await fetch(window.location.href, { credentials: "same-origin" });
        if (answer.ok && !answer.redirected) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          for (const part of document.querySelectorAll("[data-live]")) {
            const next = fresh.getElementById(part.id);
            if (!next) part.remove();
            else if (!part.contains(document.activeElement)) part.replaceWith(document.importNode(next, true));
          }
          reachPanels();
        }
      } catch {
        // The next round may have more luck.
      }
      keepCurrent();
    }, seconds * 1000);
  };

  const labelOf = (select) => document.querySelector(`label[for="${select.id}"]`);

  // Choosers that search draw boxes of their own, which do not know the label of the field that they stand for.
  const nameChoosers = () => {
    for (const box of document.querySelectorAll(".select2-container")) {
      const select = box.previousElementSibling;
      const label = select && select.id && labelOf(select);
      const name = label ? label.textContent.replace("*", "").trim() : select && select.name;
      if (!name) continue;
      for (const field of box.querySelectorAll(".select2-selection, .select2-selection__rendered[role]")) {
        if (field.hasAttribute("aria-label")) continue;
        field.removeAttribute("aria-labelledby");
        field.setAttribute("aria-label", name);
      }
    }
    for (const search of document.querySelectorAll(".select2-search__field:not([aria-label])")) {
      const box = search.closest(".select2-container");
      const named = box && box.querySelector("[aria-label]");
      const open = document.querySelector(".select2-container--open [aria-label]");
      const from = named || open;
      if (from) search.setAttribute("aria-label", from.getAttribute("aria-label"));
    }
  };

  // What scrolls can be scrolled by keyboard.
  const reachPanels = () => {
    for (const panel of document.querySelectorAll(".dmr-panel, pre")) {
      const isCut = panel.scrollWidth > panel.clientWidth;
      if (isCut && !panel.querySelector("a[href], button, input, select, textarea")) panel.tabIndex = 0;
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    reachPanels();
    window.addEventListener("resize", reachPanels);
    keepCurrent();
    nameChoosers();
    new MutationObserver(nameChoosers).observe(document.body, { childList: true, subtree: true });
  });
})();
