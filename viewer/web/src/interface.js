// Buttons, panels, the loading bar. Every text that comes from outside is set as text, never as HTML.

const BACKGROUNDS = { white: [1, 1, 1], grey: [0.5, 0.5, 0.5], black: [0, 0, 0] };
const $ = (id) => document.getElementById(id);

export class Interface {
  #actions;
  #own;
  #chosen = -1;
  #items = [];

  /** `actions`: reset, camera(index), background(rgb), link, picture; `scene` is what the page says of itself. */
  constructor(scene, actions) {
    this.#actions = actions;
    this.#own = scene.background;
    $("title").textContent = scene.title;
    $("title").hidden = !scene.title;
    for (const [index, { name }] of scene.cameras.entries()) this.#addCamera(index, name);
    $("cameras-button").hidden = !scene.cameras.length;
    $("help-button").onclick = () => this.#toggle("help");
    $("cameras-button").onclick = () => this.#toggle("cameras");
    $("reset-button").onclick = actions.reset;
    $("background-button").onclick = () => this.#nextBackground();
    $("full-button").hidden = !document.fullscreenEnabled;
    $("full-button").onclick = () => this.#fullScreen();
    addEventListener("keydown", (event) => this.#key(event));
    document.body.classList.toggle("bare", new URLSearchParams(location.hash.slice(1)).has("bare"));
    this.#paint(this.#own);
  }

  /** How much of the scene is here, 0 to 1; the bar goes away at 1. */
  progress(share, what) {
    $("loading").hidden = share >= 1;
    $("bar").style.transform = `scaleX(${share})`;
    $("what").textContent = what;
  }

  /** Something to know, until it is clicked away. */
  note(message) {
    $("note").textContent = message;
    $("note").hidden = false;
    $("note").onclick = () => ($("note").hidden = true);
  }

  /** Something that keeps the scene from being shown. */
  failed(message) {
    $("loading").hidden = true;
    $("message").hidden = false;
    $("message").textContent = message;
  }

  /** Marks the camera that one stands at; -1 for none. */
  choose(index) {
    this.#items[this.#chosen]?.removeAttribute("aria-current");
    this.#chosen = index;
    this.#items[index]?.setAttribute("aria-current", "true");
    if (!$("cameras").hidden) this.#items[index]?.scrollIntoView({ block: "nearest" });
  }

  #addCamera(index, name) {
    const button = document.createElement("button");
    button.textContent = name;
    button.title = name;
    button.onclick = () => this.#actions.camera(index);
    $("list").append(button);
    this.#items.push(button);
  }

  #toggle(id) {
    const shown = $(id).hidden;
    for (const panel of ["help", "cameras"]) {
      $(panel).hidden = panel !== id || !shown;
      $(`${panel}-button`).setAttribute("aria-expanded", String(panel === id && shown));
    }
    if (shown && id === "cameras") this.#items[this.#chosen]?.scrollIntoView({ block: "center" });
  }

  #step(by) {
    const count = this.#items.length;
    if (count) this.#actions.camera(this.#chosen < 0 ? 0 : (this.#chosen + by + count) % count);
  }

  #nextBackground() {
    const others = Object.values(BACKGROUNDS);
    const at = others.findIndex((rgb) => rgb.every((value, i) => value === this.background[i]));
    this.#paint(others[(at + 1) % others.length]);
    this.#actions.background(this.background);
  }

  #paint(rgb) {
    this.background = rgb;
    const light = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2] > 0.6;
    document.body.style.background = `rgb(${rgb.map((value) => Math.round(255 * value)).join(" ")})`;
    document.body.classList.toggle("light", light);
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement) return;
    const act = {
      r: () => this.#actions.reset(),
      c: () => this.#items.length && this.#toggle("cameras"),
      n: () => this.#step(1),
      p: () => this.#step(-1),
      b: () => this.#nextBackground(),
      f: () => this.#fullScreen(),
      l: () => this.#actions.link(),
      h: () => this.#toggle("help"),
      "?": () => this.#toggle("help"),
      Escape: () => this.#hidePanels(),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    act?.();
  }

  #hidePanels() {
    for (const panel of ["help", "cameras"]) if (!$(panel).hidden) this.#toggle(panel);
  }
}
