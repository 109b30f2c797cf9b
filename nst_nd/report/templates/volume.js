"use strict";
// NiiVue and the volumes are unpacked when the view is first seen, not before
(() => {
  const canvas = document.getElementById("canvas");
  if (!canvas) return;
  const said = document.getElementById("volume-said"), layout = document.getElementById("layout");
  const buttons = [...document.querySelectorAll("[data-volume]")];
  let begun = false;
  new IntersectionObserver((entries, observer) => {
    if (begun || !entries.some((entry) => entry.isIntersecting)) return;
    begun = true;
    observer.disconnect();
    said.textContent = "opening…";
    // after the next picture, so that the word is seen
    requestAnimationFrame(() => setTimeout(() => open().catch((error) => {
      said.textContent = `cannot be shown in this browser: ${error.message}; the slices above need nothing of it`;
      canvas.parentElement.hidden = true;
    })));
  }).observe(canvas);

  async function unpacked(text) {
    const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  async function open() {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("it has no WebGL2");
    const data = JSON.parse(document.getElementById("volume-data").textContent);
    const script = document.createElement("script");
    script.textContent = new TextDecoder().decode(await unpacked(document.getElementById("niivue").textContent));
    document.head.append(script);
    const viewer = new niivue.Niivue({
      logLevel: "warn", dragAndDropEnabled: false, isRadiologicalConvention: true, show3Dcrosshair: true,
      crosshairColor: [1, 0.55, 0.1, 1], crosshairWidth: 0.6, loadingText: "", isResizeCanvas: true,
    });
    await viewer.attachToCanvas(canvas);
    const names = Object.keys(data.volumes);
    for (const name of names) await viewer.loadFromArrayBuffer(await unpacked(data.volumes[name]), `${name}.nii`);
    for (const volume of viewer.volumes) [volume.cal_min, volume.cal_max] = data.window;
    viewer.updateGLVolume();
    const views = {
      both: () => { viewer.opts.multiplanarShowRender = 1; viewer.setSliceType(viewer.sliceTypeMultiplanar); },
      planes: () => { viewer.opts.multiplanarShowRender = 0; viewer.setSliceType(viewer.sliceTypeMultiplanar); },
      render: () => viewer.setSliceType(viewer.sliceTypeRender),
    };
    const show = (name) => {
      names.forEach((other, place) => viewer.setOpacity(place, other === name ? 1 : 0));
      buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.volume === name));
      said.textContent = `${name} is shown`;
    };
    buttons.forEach((button) => button.addEventListener("click", () => show(button.dataset.volume)));
    layout.addEventListener("change", () => views[layout.value]());
    const moves = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
    canvas.addEventListener("keydown", (event) => {
      if (!moves[event.key]) return;
      viewer.moveCrosshairInVox(...moves[event.key]);
      event.preventDefault();
    });
    views.both();
    show("result");
    canvas.dataset.ready = "true";
  }
})();
