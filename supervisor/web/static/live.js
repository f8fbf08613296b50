// Updates the page without a reload: while it is visible, its parts are fetched and replaced every ten seconds.
// Without this script there is a link to reload.
"use strict";
(() => {
  const EVERY = 10000;
  const reload = document.querySelector("#as-of a");
  const pause = document.createElement("button");
  let paused = false;
  let timer = 0;

  function show() {
    pause.textContent = paused ? "Resume" : "Pause";
    pause.setAttribute("aria-label", paused ? "Resume updates of this page" : "Pause updates of this page");
  }

  // A part with the focus, or with a tooltip at the pointer, is not replaced.
  function inUse(part) {
    return part.contains(document.activeElement) || part.querySelector("svg:hover") !== null;
  }

  function put(fetched) {
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fetched.getElementById(part.id);
      if (now === null || inUse(part)) continue;
      const open = Array.from(part.querySelectorAll("details"), (one) => one.open);
      part.replaceChildren(...now.childNodes);
      part.querySelectorAll("details").forEach((one, i) => { if (i in open) one.open = open[i]; });
    }
    document.querySelector("#as-of")?.append(pause);
  }

  async function refresh() {
    if (!paused && !document.hidden) {
      try {
        const response = await fetch(location.href, { cache: "no-store" });
        if (response.ok) put(new DOMParser().parseFromString(await response.text(), "text/html"));
        document.body.classList.toggle("lost", !response.ok);
      } catch {
        document.body.classList.add("lost");
      }
    }
    timer = setTimeout(refresh, EVERY);
  }

  if (reload === null) return;
  pause.type = "button";
  pause.addEventListener("click", () => {
    paused = !paused;
    show();
    if (!paused) { clearTimeout(timer); refresh(); }
  });
  show();
  reload.after(pause);
  timer = setTimeout(refresh, EVERY);
})();
