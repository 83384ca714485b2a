// The map of the collection on a canvas: points from afar, pictures from near.
"use strict";
(async () => {
  const atlas = document.getElementById("atlas");
  if (!atlas) return;
  const canvas = document.getElementById("map");
  const card = document.getElementById("map-at");
  const count = Number(atlas.dataset.count);
  const answer = await fetch("/map/points");
  if (!answer.ok) return;
  const bytes = await answer.arrayBuffer();
  const where = new Float32Array(bytes, 0, 2 * count);
  const folder = new Uint8Array(bytes, 8 * count, count);
  const draw = canvas.getContext("2d");

  // Cells of a grid over the unit square list the points in them: who is near the pointer is found at once.
  const SIDE = Math.max(1, Math.min(256, Math.ceil(Math.sqrt(count / 4))));
  const cellOf = (value) => Math.min(SIDE - 1, Math.max(0, Math.floor(value * SIDE)));
  const starts = new Uint32Array(SIDE * SIDE + 1);
  const members = new Uint32Array(count);
  for (let i = 0; i < count; i++) starts[cellOf(where[2 * i + 1]) * SIDE + cellOf(where[2 * i]) + 1]++;
  for (let i = 0; i < SIDE * SIDE; i++) starts[i + 1] += starts[i];
  const next = starts.slice(0, -1);
  for (let i = 0; i < count; i++) members[next[cellOf(where[2 * i + 1]) * SIDE + cellOf(where[2 * i])]++] = i;
  function* inside(left, top, right, bottom) {
    for (let row = cellOf(top); row <= cellOf(bottom); row++)
      for (let column = cellOf(left); column <= cellOf(right); column++)
        for (let at = starts[row * SIDE + column]; at < starts[row * SIDE + column + 1]; at++) {
          const i = members[at];
          const [x, y] = [where[2 * i], where[2 * i + 1]];
          if (x >= left && x <= right && y >= top && y <= bottom) yield i;
        }
  }

  // A point (x, y) of the unit square is drawn at (x - view.x, y - view.y) * view.scale, in CSS pixels.
  const view = { x: 0, y: 0, scale: 1 };
  let width = 0, height = 0, smallest = 1, current = -1, hovering = false, waiting = false;
  const largest = () => smallest * Math.max(40, Math.sqrt(count) * 4);
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paint();
    });
  };
  const edge = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    const [x, y] = [where[2 * i], where[2 * i + 1]];
    edge[0] = Math.min(edge[0], x);
    edge[1] = Math.min(edge[1], y);
    edge[2] = Math.max(edge[2], x);
    edge[3] = Math.max(edge[3], y);
  }
  const fit = () => {
    const [w, h] = [Math.max(edge[2] - edge[0], 0.05), Math.max(edge[3] - edge[1], 0.05)];
    const [room, headroom] = [Math.max(width - 130, width / 2), Math.max(height - 130, height / 2)]; // for pictures
    smallest = Math.min(room / w, headroom / h);
    view.scale = smallest;
    view.x = (edge[0] + edge[2]) / 2 - width / 2 / view.scale;
    view.y = (edge[1] + edge[3]) / 2 - height / 2 / view.scale;
    redraw();
  };
  const zoom = (factor, x = width / 2, y = height / 2) => {
    const scale = Math.min(Math.max(view.scale * factor, smallest * 0.8), largest());
    view.x += x / view.scale - x / scale;
    view.y += y / view.scale - y / scale;
    view.scale = scale;
    redraw();
  };
  const move = (dx, dy) => {
    view.x = Math.min(Math.max(view.x - dx / view.scale, -width / view.scale), 1);
    view.y = Math.min(Math.max(view.y - dy / view.scale, -height / view.scale), 1);
    redraw();
  };

  const pictures = new Map();
  const FEW = 160;
  const pictureOf = (i) => {
    let picture = pictures.get(i);
    if (!picture) {
      picture = new Image();
      picture.onload = redraw;
      picture.src = `/map/pictures/${i}`;
      pictures.set(i, picture);
      if (pictures.size > 1200) pictures.delete(pictures.keys().next().value);
    }
    return picture;
  };

  let colours = [];
  const readColours = () => {
    const style = getComputedStyle(atlas);
    colours = [...Array(8).keys()].map((n) => style.getPropertyValue(`--folder-${n}`).trim());
    colours.ink = style.getPropertyValue("--ink").trim();
    colours.card = style.getPropertyValue("--card").trim();
    redraw();
  };
  const paint = () => {
    const ratio = canvas.width / width;
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw.clearRect(0, 0, width, height);
    const [right, bottom] = [view.x + width / view.scale, view.y + height / view.scale];
    const margin = 60 / view.scale;
    const near = [];
    for (const i of inside(view.x - margin, view.y - margin, right + margin, bottom + margin)) {
      near.push(i);
      if (near.length > FEW) break;
    }
    if (near.length <= FEW) near.forEach(paintPicture);
    else paintPoints(right, bottom);
    if (current >= 0) {
      const [x, y] = [(where[2 * current] - view.x) * view.scale, (where[2 * current + 1] - view.y) * view.scale];
      draw.lineWidth = 3;
      for (const [colour, radius] of [[colours.card, 9], [colours.ink, 7]]) {
        draw.strokeStyle = colour;
        draw.beginPath();
        draw.arc(x, y, radius, 0, 2 * Math.PI);
        draw.stroke();
      }
    }
  };
  const paintPoints = (right, bottom) => {
    const zoomed = Math.sqrt(view.scale / smallest);
    const size = Math.min(9, Math.max(1.6, 90 / Math.sqrt(count)) * zoomed);
    draw.globalAlpha = count > 20000 && zoomed < 2 ? 0.55 : 0.85;
    let last = -1;
    // members stand cell by cell, so a row of cells outside the view is left out at once
    for (let row = cellOf(view.y); row <= cellOf(bottom); row++) {
      const [from, to] = [starts[row * SIDE + cellOf(view.x)], starts[row * SIDE + cellOf(right) + 1]];
      for (let at = from; at < to; at++) {
        const i = members[at];
        if (folder[i] !== last) draw.fillStyle = colours[(last = folder[i])];
        draw.fillRect((where[2 * i] - view.x) * view.scale - size / 2, (where[2 * i + 1] - view.y) * view.scale - size / 2, size, size);
      }
    }
    draw.globalAlpha = 1;
  };
  const paintPicture = (i) => {
    const picture = pictureOf(i);
    const [x, y] = [(where[2 * i] - view.x) * view.scale, (where[2 * i + 1] - view.y) * view.scale];
    const side = Math.min(120, Math.max(44, (0.9 * view.scale) / Math.sqrt(count)));
    if (!picture.complete || !picture.naturalWidth) {
      draw.fillStyle = colours[folder[i]];
      draw.fillRect(x - 4, y - 4, 8, 8);
      return;
    }
    const factor = side / Math.max(picture.naturalWidth, picture.naturalHeight);
    const [w, h] = [picture.naturalWidth * factor, picture.naturalHeight * factor];
    draw.fillStyle = colours[folder[i]];
    draw.fillRect(x - w / 2 - 2, y - h / 2 - 2, w + 4, h + 4);
    draw.drawImage(picture, x - w / 2, y - h / 2, w, h);
  };

  const nearest = (x, y, reach) => {
    const [px, py, far] = [view.x + x / view.scale, view.y + y / view.scale, reach / view.scale];
    let best = -1, least = far * far;
    for (const i of inside(px - far, py - far, px + far, py + far)) {
      const distance = (where[2 * i] - px) ** 2 + (where[2 * i + 1] - py) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  };
  const known = new Map();
  let timer = 0;
  const choose = (i) => {
    if (i === current) return;
    current = i;
    redraw();
    clearTimeout(timer);
    card.hidden = i < 0;
    if (i < 0) return;
    timer = setTimeout(async () => {
      if (!known.has(i)) {
        const answer = await fetch(`/map/images/${i}`);
        if (!answer.ok) return;
        known.set(i, await answer.json());
      }
      if (i !== current) return;
      const facts = known.get(i);
      card.querySelector("a").href = facts.search;
      card.querySelector("img").src = facts.picture;
      card.querySelector("bdi").textContent = facts.id;
    }, 60);
  };
  const open = async () => {
    if (current < 0) return;
    const answer = known.has(current) ? null : await fetch(`/map/images/${current}`);
    location.href = answer ? (await answer.json()).search : known.get(current).search;
  };

  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  const held = new Map();
  let travelled = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, place(event));
    travelled = held.size > 1 ? Infinity : 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = held.get(event.pointerId);
    if (!before) {
      hovering = true;
      choose(nearest(x, y, 24));
      return;
    }
    const others = [...held].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (others.length) {
      const [ox, oy] = others[0];
      const span = (at) => Math.hypot(at[0] - ox, at[1] - oy) || 1;
      zoom(span([x, y]) / span(before), (x + ox) / 2, (y + oy) / 2);
    } else {
      move(x - before[0], y - before[1]);
      travelled += Math.hypot(x - before[0], y - before[1]);
    }
    held.set(event.pointerId, [x, y]);
  });
  const release = (event) => {
    const click = held.delete(event.pointerId) && event.type === "pointerup" && travelled < 5;
    if (!click) return;
    choose(nearest(...place(event), 24));
    if (event.pointerType === "mouse") open(); // a finger sees first what it found, and opens it by its card
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => {
    if (hovering) choose(-1);
    hovering = false;
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) / 300), ...place(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key in steps) move(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") fit();
    else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
    if (event.key !== "Enter") choose(nearest(width / 2, height / 2, Math.max(width, height)));
  });
  document.getElementById("closer").addEventListener("click", () => zoom(1.6));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.6));
  document.getElementById("all").addEventListener("click", fit);

  new ResizeObserver(() => {
    const first = !width;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (first) fit();
    redraw();
  }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
  readColours();
  atlas.dataset.ready = "yes";
})();
