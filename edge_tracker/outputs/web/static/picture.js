// The live picture with its boxes, and a box that a person draws on it. Boxes are [x, y, w, h] in pixels of the frame.

export const COLOURS = { TRACKED: "#4fd66a", UNCERTAIN: "#ffbe3d", LOST: "#ff6b62" };
const SMALLEST_DRAG_PX = 8; // of the screen; less is a tap
const SHARP_PX = 960;
const TAPPED_SHARE = 0.2; // side of a tapped box, of the frame's shorter side

export class Picture {
  // canvas: where it is drawn. chosen(box, index): a box was drawn on frame `index`. proposing(is): a proposal is open.
  constructor(canvas, chosen, proposing) {
    this.canvas = canvas;
    this.chosen = chosen;
    this.proposing = proposing;
    this.live = null; // { image, told }
    this.held = null; // what is shown while a box is drawn
    this.drag = null; // { x, y, id } where the pointer went down
    this.box = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.cancel());
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(image, told) {
    this.live?.image !== this.held?.image && this.live?.image.close();
    this.live = { image, told };
    this.draw();
  }

  // Of the frame's pixels, under the pointer.
  place(event) {
    const { told } = this.held ?? this.live;
    const area = this.canvas.getBoundingClientRect();
    // object-fit: contain leaves bars
    const scale = Math.min(area.width / told.width, area.height / told.height);
    const left = (area.width - told.width * scale) / 2, top = (area.height - told.height * scale) / 2;
    const limit = (v, most) => Math.min(Math.max(v, 0), most);
    return {
      x: limit((event.clientX - area.left - left) / scale, told.width),
      y: limit((event.clientY - area.top - top) / scale, told.height),
      scale,
    };
  }

  hold() {
    this.held ??= this.live;
  }

  down(event) {
    if (!this.live?.told.width || event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const moving = this.box !== null; // a proposal is open: a tap moves it
    this.hold();
    this.drag = { ...this.place(event), id: event.pointerId, moving };
  }

  moved(event) {
    if (this.drag?.id !== event.pointerId) return;
    const { x, y, scale } = this.place(event);
    const w = Math.abs(x - this.drag.x), h = Math.abs(y - this.drag.y);
    if (Math.max(w, h) * scale >= SMALLEST_DRAG_PX) {
      this.drag.drawn = true;
      this.box = [Math.min(x, this.drag.x), Math.min(y, this.drag.y), w, h];
      this.draw();
    }
  }

  up(event) {
    if (this.drag?.id !== event.pointerId) return;
    const { drawn, x, y } = this.drag;
    this.drag = null;
    if (!drawn) {
      this.propose(x, y);
    } else if (this.box[2] >= 3 && this.box[3] >= 3) {
      this.follow();
    } else {
      this.cancel();
    }
  }

  // A box around a place that was tapped, to be followed, changed or cancelled.
  propose(x, y) {
    this.hold();
    const { told } = this.held;
    const side = this.box ? this.box[2] : TAPPED_SHARE * Math.min(told.width, told.height);
    this.box = [x - side / 2, y - side / 2, side, side];
    this.proposing(true);
    this.draw();
  }

  resize(factor) {
    if (!this.box) return;
    const [x, y, w, h] = this.box;
    const { told } = this.held;
    const most = Math.min(told.width / w, told.height / h);
    const by = Math.max(Math.min(factor, most), 8 / Math.min(w, h));
    this.box = [x + (w - w * by) / 2, y + (h - h * by) / 2, w * by, h * by];
    this.draw();
  }

  follow() {
    const { box, held } = this;
    this.cancel();
    if (box) this.chosen(box.map((v) => Math.round(v * 10) / 10), held.told.index);
  }

  cancel() {
    const held = this.held;
    this.held = this.drag = this.box = null;
    if (held && held.image !== this.live?.image) held.image.close();
    this.proposing(false);
    this.draw();
  }

  key(event) {
    if (!this.live?.told.width) return;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step) {
      const { told } = this.held ?? this.live;
      const by = event.shiftKey ? 1 : Math.max(told.width / 40, 1);
      const [x, y, w, h] = this.box ?? [told.width / 2, told.height / 2, 0, 0];
      const limit = (v, most) => Math.min(Math.max(v, 0), most);
      this.propose(limit(x + w / 2 + step[0] * by, told.width), limit(y + h / 2 + step[1] * by, told.height));
    } else if (event.key === "+" || event.key === "=") {
      this.resize(1.15);
    } else if (event.key === "-") {
      this.resize(1 / 1.15);
    } else if (event.key === "Enter" && this.box) {
      this.follow();
    } else if (event.key === "Escape" && this.held) {
      this.cancel();
    } else {
      return;
    }
    event.preventDefault();
  }

  draw() {
    const shown = this.held ?? this.live;
    if (!shown) return;
    const { image, told } = shown;
    const { canvas } = this;
    const times = Math.ceil(SHARP_PX / image.width); // boxes and names stay sharp on a small picture
    if (canvas.width !== times * image.width || canvas.height !== times * image.height) {
      canvas.width = times * image.width;
      canvas.height = times * image.height;
    }
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    const scale = canvas.width / told.width;
    const unit = canvas.width / Math.max(canvas.clientWidth, 1); // a pixel of the screen
    for (const track of told.tracks ?? []) outline(pen, track, scale, unit);
    if (this.box) {
      const [x, y, w, h] = this.box.map((v) => v * scale);
      pen.lineWidth = 2 * unit;
      for (const [colour, offset] of [["#000", 0], ["#fff", 6 * unit]]) {
        pen.strokeStyle = colour;
        pen.setLineDash([6 * unit, 6 * unit]);
        pen.lineDashOffset = offset;
        pen.strokeRect(x, y, w, h);
      }
      pen.setLineDash([]);
    }
  }
}

function outline(pen, track, scale, unit) {
  const [x, y, w, h] = track.box.map((v) => v * scale);
  pen.strokeStyle = COLOURS[track.state];
  pen.lineWidth = 2 * unit;
  pen.setLineDash(track.state === "TRACKED" ? [] : [8 * unit, 4 * unit]); // told by more than colour
  pen.strokeRect(x, y, w, h);
  pen.setLineDash([]);
  pen.font = `${Math.round(13 * unit)}px system-ui, sans-serif`;
  const text = track.state === "TRACKED" ? track.target : `${track.target} · ${track.state}`;
  const width = pen.measureText(text).width + 8 * unit;
  const top = y >= 18 * unit ? y - 18 * unit : y;
  const left = Math.max(Math.min(x, pen.canvas.width - width), 0);
  pen.fillStyle = COLOURS[track.state];
  pen.fillRect(left, top, width, 18 * unit);
  pen.fillStyle = "#000";
  pen.fillText(text, left + 4 * unit, top + 13.5 * unit);
}
