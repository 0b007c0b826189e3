// Draws the scene's points and cameras by parallel projection on a 2D canvas; no library, no WebGL.
"use strict";
(() => {
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const points = new Float32Array(bytes(scene.points).buffer), colors = bytes(scene.colors);
  const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d"), said = document.querySelector("output");
  const [right, up, back] = scene.axes;
  // How the scene is looked at: turned about its up axis, tipped, moved on the paper, enlarged.
  const view = { azimuth: 0.6, tilt: 0.5, x: 0, y: 0, zoom: 1 };
  let tips = [], chosen = -1, waiting = false;

  const rows = () => {
    const [ca, sa, ce, se] = [Math.cos(view.azimuth), Math.sin(view.azimuth), Math.cos(view.tilt), Math.sin(view.tilt)];
    const across = right.map((r, i) => ca * r + sa * back[i]), towards = right.map((r, i) => -sa * r + ca * back[i]);
    const above = up.map((u, i) => ce * u - se * towards[i]), near = up.map((u, i) => se * u + ce * towards[i]);
    return [across, above, near];
  };
  const dot = (a, p) => a[0] * p[0] + a[1] * p[1] + a[2] * p[2];

  function draw() {
    waiting = false;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const [across, above, near] = rows(), scale = 0.46 * Math.min(width, height) * view.zoom;
    const place = (p) => [width / 2 + (dot(across, p) + view.x) * scale, height / 2 - (dot(above, p) + view.y) * scale];
    const count = points.length / 3;
    const image = pen.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    pixels.fill(0xfff4f2f1);
    const depths = new Float32Array(width * height).fill(-Infinity);
    const size = Math.round(ratio * (count > 30000 ? 1 : 2));
    for (let i = 0; i < count; i++) {
      const p = [points[3 * i], points[3 * i + 1], points[3 * i + 2]];
      const [px, py] = place(p), depth = dot(near, p), x0 = Math.floor(px), y0 = Math.floor(py);
      if (x0 < 0 || y0 < 0 || x0 + size > width || y0 + size > height) continue;
      const color = 0xff000000 | (colors[3 * i + 2] * 0.9 << 16) | (colors[3 * i + 1] * 0.9 << 8) | (colors[3 * i] * 0.9);
      for (let y = y0; y < y0 + size; y++) for (let x = x0; x < x0 + size; x++) {
        if (depth > depths[y * width + x]) { depths[y * width + x] = depth; pixels[y * width + x] = color >>> 0; }
      }
    }
    pen.putImageData(image, 0, 0);
    pen.lineWidth = ratio;
    if (scene.box) {
      pen.strokeStyle = "#d68214";
      for (let axis = 0; axis < 3; axis++) for (let corner = 0; corner < 4; corner++) {
        const ends = [0, 1].map((end) => {
          const p = [];
          p[axis] = scene.box[end][axis];
          p[(axis + 1) % 3] = scene.box[corner & 1][(axis + 1) % 3];
          p[(axis + 2) % 3] = scene.box[corner >> 1][(axis + 2) % 3];
          return place(p);
        });
        line(ends);
      }
    }
    tips = scene.cameras.map(([tip, ...rim], i) => {
      pen.strokeStyle = pen.fillStyle = scene.cameraColors[i];
      pen.lineWidth = ratio * (i === chosen ? 3 : 1);
      const [at, ...around] = [tip, ...rim].map(place);
      line([...around, around[0]]);
      around.forEach((corner) => line([at, corner]));
      pen.beginPath(); pen.arc(at[0], at[1], 2 * ratio * (i === chosen ? 2 : 1), 0, 7); pen.fill();
      return at.map((v) => v / ratio);
    });
    compass(ratio, height, [across, above]);
  }
  function line(path) {
    pen.beginPath(); path.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y))); pen.stroke();
  }
  function compass(ratio, height, [across, above]) {
    const [x, y, reach] = [52 * ratio, height - 52 * ratio, 32 * ratio];
    pen.lineWidth = 2 * ratio; pen.font = `${14 * ratio}px system-ui, sans-serif`; pen.textAlign = "center"; pen.textBaseline = "middle";
    ["#c82828", "#288c32", "#3250d2"].forEach((color, axis) => {
      pen.strokeStyle = pen.fillStyle = color;
      line([[x, y], [x + across[axis] * reach, y - above[axis] * reach]]);
      pen.fillText("xyz"[axis], x + across[axis] * 1.35 * reach, y - above[axis] * 1.35 * reach);
    });
  }
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

  function choose(index, scroll) {
    if (index === chosen) return;
    chosen = index;
    document.querySelectorAll("figure.chosen").forEach((figure) => figure.classList.remove("chosen"));
    const figure = document.querySelector(`figure[data-camera="${index}"]`);
    if (figure) { figure.classList.add("chosen"); if (scroll) figure.scrollIntoView({ block: "nearest" }); }
    said.textContent = index < 0 ? "" : scene.names[index] ?? `camera ${index}`;
    later();
  }
  const held = new Map();
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, [event.offsetX, event.offsetY]); });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => held.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId), now = [event.offsetX, event.offsetY];
    if (!before) {
      let best = -1, least = 14;
      tips.forEach(([x, y], i) => { const away = Math.hypot(x - now[0], y - now[1]); if (away < least) { least = away; best = i; } });
      choose(best, false);
      return;
    }
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]], unit = 0.46 * Math.min(canvas.clientWidth, canvas.clientHeight) * view.zoom;
    if (held.size > 1) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      view.zoom *= apart(now) / apart(before);
    } else if (event.shiftKey || event.buttons & 2) { view.x += dx / unit; view.y -= dy / unit; }
    else { view.azimuth -= dx * 0.008; view.tilt = Math.max(-1.57, Math.min(1.57, view.tilt + dy * 0.008)); }
    held.set(event.pointerId, now);
    later();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); view.zoom = Math.max(0.2, Math.min(60, view.zoom * Math.exp(-event.deltaY * 0.0012))); later(); }, { passive: false });
  document.querySelectorAll("figure.used").forEach((figure) => figure.addEventListener("click", () => choose(Number(figure.dataset.camera), false)));
  window.addEventListener("resize", later);
  draw();
})();
