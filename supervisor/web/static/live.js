// Keeps the page as it is now without loading it again: every ten seconds, while somebody can see it, its parts are
// fetched and put in place. Without this script there is a link to reload.
"use strict";
(() => {
  const EVERY = 10000;
  const reload = document.querySelector("#as-of a");
  const pause = document.createElement("button");
  let paused = false;
  let timer = 0;

  function show() {
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-label", paused ? "Go on keeping this page up to date" : "Stop keeping this page up to date");
  }

  // A part that somebody is using stays as it is: what has the focus, and what the pointer asks about.
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
        const answer = await fetch(location.href, { cache: "no-store" });
        if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
        document.body.classList.toggle("lost", !answer.ok);
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
