"use strict";
// the slider, and content against result in one place
(() => {
  const one = (selector) => document.querySelector(selector);
  const block = one("#slices"), slider = one("#slice"), stage = one("#stage"), screen = one("#screen");
  const slices = block && JSON.parse(block.textContent);
  const pictures = {};
  for (const figure of document.querySelectorAll(".panel")) {
    const image = figure.querySelector("img");
    if (image) pictures[figure.dataset.role] = [image];
    if (image && image.closest(".volume")) image.style.aspectRatio = `${image.getAttribute("width")} / ${image.getAttribute("height")}`;
  }
  const roles = ["content", "result", "difference"].filter((role) => pictures[role]);

  if (stage && pictures.content && pictures.result) {
    stage.hidden = false;
    for (const role of roles) {
      const copy = pictures[role][0].cloneNode();
      copy.alt = "";
      if (role === "result") copy.classList.add("on");
      pictures[role].push(copy);
      screen.append(copy);
    }
    compare();
  }
  if (slider && slices) {
    slider.addEventListener("input", () => turn(Number(slider.value)));
    turn(Number(slider.value));
  }

  function turn(place) {
    for (const [role, uris] of Object.entries(slices.pictures)) {
      for (const image of pictures[role] || []) image.src = uris[place];
    }
    const said = `${slices.places[place] + 1} of ${slices.depth}`;
    one("#slice-said").textContent = said;
    slider.setAttribute("aria-valuetext", said);
  }

  function compare() {
    const buttons = [...stage.querySelectorAll("[data-show]")], said = one("#stage-said"), flicker = one("#flicker");
    let chosen = "result", timer = 0;
    const show = (role) => {
      roles.forEach((name) => pictures[name][1].classList.toggle("on", name === role));
      if (!timer) said.textContent = role;
    };
    const choose = (role) => {
      if (!roles.includes(role)) return;
      chosen = role;
      buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.show === role));
      show(role);
    };
    const alternate = () => {
      if (timer) { clearInterval(timer); timer = 0; show(chosen); } else {
        let content = false;
        said.textContent = "content and result in turns";
        // below three a second, which is what is safe to look at
        timer = setInterval(() => { content = !content; show(content ? "content" : "result"); }, 600);
      }
      flicker.setAttribute("aria-pressed", Boolean(timer));
    };
    buttons.forEach((button) => button.addEventListener("click", () => choose(button.dataset.show)));
    flicker.addEventListener("click", alternate);
    screen.addEventListener("pointerenter", () => show("content"));
    screen.addEventListener("pointerleave", () => show(chosen));
    screen.addEventListener("blur", () => show(chosen));
    screen.addEventListener("keyup", (event) => { if (event.key === " ") show(chosen); });
    screen.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const key = event.key.toLowerCase(), role = { c: "content", r: "result", d: "difference" }[key];
      if (key === " ") show("content");
      else if (role) choose(role);
      else if (key === "f" && !event.repeat) alternate();
      else if (slider && (key === "arrowleft" || key === "arrowright")) {
        slider.value = Number(slider.value) + (key === "arrowright" ? 1 : -1);
        turn(Number(slider.value));
      } else return;
      event.preventDefault();
    });
    listen(choose);
  }

  // both sounds at the same moment, one of them heard
  function listen(choose) {
    const swap = one("#swap");
    const players = ["content", "result"].map((role) => one(`.panel[data-role=${role}] audio`));
    if (!swap || players.some((player) => !player)) { if (swap) swap.hidden = true; return; }
    let heard = 1;
    swap.addEventListener("click", () => {
      const before = players[heard];
      heard = 1 - heard;
      players[heard].currentTime = before.currentTime;
      before.pause();
      players[heard].play();
      choose(heard ? "result" : "content");
    });
  }
})();
