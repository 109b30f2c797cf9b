"use strict";
// auto, light, dark in turns; remembered where the browser lets a local file remember anything
(() => {
  const button = document.getElementById("theme"), root = document.documentElement;
  const order = ["auto", "light", "dark"];
  let now = "auto";
  try { now = localStorage.getItem("nst-nd-theme") || "auto"; } catch { /* not for local files here */ }
  const put = () => {
    if (now === "auto") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", now);
    button.textContent = `Theme: ${now}`;
  };
  if (!order.includes(now)) now = "auto";
  button.hidden = false;
  button.addEventListener("click", () => {
    now = order[(order.indexOf(now) + 1) % order.length];
    try { localStorage.setItem("nst-nd-theme", now); } catch { /* then it is forgotten */ }
    put();
  });
  put();
})();
