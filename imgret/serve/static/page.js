// Drop, paste or choose a picture; draw a region on the query; walk a grid with the arrow keys.
"use strict";
(() => {
  const upload = document.getElementById("upload");
  if (upload) {
    const input = upload.querySelector("input[type=file]");
    const says = document.getElementById("upload-says");
    const say = (text, bad) => {
      says.textContent = text;
      says.classList.toggle("bad", bad);
    };
    const send = () => {
      const file = input.files[0];
      if (!file) return;
      const most = Number(upload.dataset.mostBytes);
      if (file.size > most) {
        const megabytes = (bytes) => (bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 0);
        say(`This file has ${megabytes(file.size)} MB, at most ${megabytes(most)} MB are taken.`, true);
        input.value = "";
        return;
      }
      say("Searching …", false);
      upload.submit();
    };
    const take = (files) => {
      const picture = [...files].find((file) => file.type.startsWith("image/") || /\.(heic|avif|tiff?|jp2)$/i.test(file.name));
      if (!picture) {
        say("That is no picture.", true);
        return;
      }
      const chosen = new DataTransfer();
      chosen.items.add(picture);
      input.files = chosen.files;
      send();
    };
    input.addEventListener("change", send);
    window.addEventListener("pageshow", () => {
      input.value = "";
      say("", false);
    });
    let inside = 0;
    const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    window.addEventListener("dragenter", (event) => {
      if (holdsFiles(event)) document.body.classList.toggle("dragging", ++inside > 0);
    });
    window.addEventListener("dragleave", (event) => {
      if (holdsFiles(event)) document.body.classList.toggle("dragging", --inside > 0);
    });
    window.addEventListener("dragover", (event) => {
      if (holdsFiles(event)) event.preventDefault();
    });
    window.addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      inside = 0;
      document.body.classList.remove("dragging");
      take(event.dataTransfer.files);
    });
    window.addEventListener("paste", (event) => {
      if (event.clipboardData?.files.length) take(event.clipboardData.files);
    });
  }

  const adjust = document.querySelector(".adjust");
  if (adjust && matchMedia("(max-width: 760px)").matches) adjust.open = false;

  const region = document.getElementById("region");
  const box = document.getElementById("box");
  if (box) {
    document.getElementById("clear").addEventListener("click", () => {
      box.value = "";
      show("");
      box.dispatchEvent(new Event("change", { bubbles: true }));
    });
    box.addEventListener("input", () => show(box.value));
  }
  function show(text) {
    const edges = text.split(",").map(Number);
    const rect = region?.querySelector("rect");
    if (!rect) return;
    const whole = edges.length === 4 && edges.every(Number.isFinite);
    const [left, top, right, bottom] = whole ? edges : [0, 0, 0, 0];
    const sizes = { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
    for (const [name, value] of Object.entries(sizes)) rect.setAttribute(name, value);
    rect.toggleAttribute("hidden", !whole);
  }
  if (region && box) {
    show(box.value || box.dataset.own);
    const width = Number(region.dataset.width);
    const height = Number(region.dataset.height);
    let from = null;
    const place = (event) => {
      const frame = region.getBoundingClientRect();
      const within = (value, most) => Math.round(Math.min(Math.max(value, 0), 1) * most);
      return [within((event.clientX - frame.left) / frame.width, width), within((event.clientY - frame.top) / frame.height, height)];
    };
    const edges = (event) => {
      const to = place(event);
      return [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
    };
    region.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      from = place(event);
      region.setPointerCapture(event.pointerId);
    });
    region.addEventListener("pointermove", (event) => {
      if (from) show(edges(event).join(","));
    });
    region.addEventListener("pointerup", (event) => {
      if (!from) return;
      const [left, top, right, bottom] = edges(event);
      from = null;
      // a click is no region
      const drawn = (right - left) * region.clientWidth > 6 * width && (bottom - top) * region.clientHeight > 6 * height;
      const text = drawn ? [left, top, right, bottom].join(",") : box.value;
      show(text || box.dataset.own);
      if (text === box.value) return;
      box.value = text;
      box.dispatchEvent(new Event("change", { bubbles: true }));
    });
    region.addEventListener("pointercancel", () => {
      from = null;
      show(box.value || box.dataset.own);
    });
  }

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing) {
      const text = document.getElementById("text");
      if (text) {
        event.preventDefault();
        text.focus();
      }
      return;
    }
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: "up", ArrowDown: "down" };
    const current = document.activeElement?.closest?.("[data-grid] .window");
    if (!(event.key in steps) || !current) return;
    const links = [...current.closest("[data-grid]").querySelectorAll("a.window")];
    const at = links.indexOf(current);
    const rowTop = (link) => link.getBoundingClientRect().top;
    let columns = links.findIndex((link) => rowTop(link) > rowTop(links[0]) + 4);
    if (columns < 0) columns = links.length;
    const step = { up: -columns, down: columns }[steps[event.key]] ?? steps[event.key];
    const next = links[at + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });
})();
