// Draws when something changed and only then. While it moves the picture gets as many pixels as the machine draws
// in time; when it stands still it is sharpened, in steps where a sharp picture takes long (software rendering).

const FRAME = 45; // ms: what a moving picture may take
const SLOWEST = 2000; // ms of a frame that count
const STILL = 120; // ms without movement before it is sharpened
const LEAST = 0.2; // of the window's pixels along each side
const PATIENCE = 700; // ms that one step of sharpening may take before smaller ones are preferred

export class Loop {
  #engine;
  #canvas;
  #limits;
  #animate;
  #requested = false;
  #scale = 1; // pixels drawn per device pixel, along a side, while moving
  #shown = 0; // scale of the picture that is being sharpened
  #moved = 0; // when it last moved
  #last = 0; // when the last moving frame began
  #cost = 0; // ms for each pixel, as last seen
  #settling = false;
  #version = 0; // counts changes of what is to be drawn
  #sharp = -1; // the version that is drawn sharp
  #waiting = [];

  frames = 0;

  /** `animate(seconds)` moves the view and says whether it is still moving; `view` is what is drawn, between `limits(view)`. */
  constructor(engine, canvas, view, limits, animate) {
    this.#engine = engine;
    this.#canvas = canvas;
    this.#limits = limits;
    this.#animate = animate;
    this.view = view;
    new ResizeObserver(() => this.wake()).observe(canvas);
  }

  /** Something is to be drawn. */
  wake() {
    this.#version++;
    this.#request();
  }

  /** The picture that is there can be drawn better: in a newer order. */
  refresh() {
    if (!this.#settling) this.#request();
  }

  /** A picture of the view as it is now has been drawn, sharp and sorted. */
  settled() {
    if (this.#sharp === this.#version) return Promise.resolve();
    this.#request();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #request() {
    if (this.#requested) return;
    this.#requested = true;
    requestAnimationFrame((now) => {
      this.#requested = false;
      this.#frame(now);
    });
  }

  #frame(now) {
    if (this.#settling || this.#sharp === this.#version) return; // settling asks again when it is done
    const since = Math.min((now - this.#last) / 1000, 0.1);
    const moving = this.#animate(this.#last ? since : 1 / 60);
    if (moving) {
      if (this.#last) this.#adapt(Math.min(now - this.#last, SLOWEST));
      this.#last = now;
      this.#moved = now;
      this.#engine.draw(this.#shot(this.#scale));
      this.frames++;
      this.#request();
      return;
    }
    this.#last = 0;
    if (now - this.#moved < STILL) {
      this.#request();
      return;
    }
    this.#sharpen();
  }

  async #sharpen() {
    const version = this.#version;
    const scale = this.#next(this.#shown);
    const start = performance.now();
    this.#settling = true;
    try {
      await this.#engine.settle(this.#shot(scale));
      this.#engine.finish(); // so that the time is that of drawing, and the picture is there
    } finally {
      this.#settling = false;
    }
    this.frames++;
    this.#cost = (performance.now() - start) / (this.#canvas.width * this.#canvas.height);
    const [current, sharp] = [version === this.#version, scale >= 1];
    this.#shown = current && !sharp ? scale : 0;
    if (current && sharp) {
      this.#sharp = version;
      for (const resolve of this.#waiting.splice(0)) resolve();
    } else {
      this.#request();
    }
  }

  /** The next step of sharpening after a picture of scale `shown` (0: none yet). */
  #next(shown) {
    const pixels = this.#canvas.clientWidth * this.#canvas.clientHeight * this.#ratio() ** 2;
    if (!shown && this.#cost * pixels > PATIENCE) return Math.max(LEAST, Math.min(1, this.#scale));
    return shown && this.#cost * pixels > 4 * PATIENCE ? Math.min(1, 2 * shown) : 1;
  }

  #adapt(took) {
    const wanted = this.#scale * Math.sqrt(FRAME / Math.max(took, 5));
    if (took > 1.3 * FRAME || took < 0.6 * FRAME) {
      const softened = 0.5 * (this.#scale + Math.min(1, Math.max(LEAST, wanted)));
      this.#scale = Math.round(softened * 20) / 20;
    }
  }

  #ratio() {
    return Math.min(window.devicePixelRatio || 1, 2);
  }

  #shot(scale) {
    const ratio = this.#ratio() * scale;
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    return {
      matrix: this.view.matrix(),
      frustum: this.view.frustum(width, height, this.#limits(this.view)),
      width: Math.max(1, Math.round(width * ratio)),
      height: Math.max(1, Math.round(height * ratio)),
    };
  }
}
