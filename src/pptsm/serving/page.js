
"use strict";
const at = (id) => document.getElementById(id);

function say(text, failed) {
  at("said").textContent = text;
  at("said").className = failed ? "failed" : "";
}

function show(answer) {
  say(answer.file, false);
  for (const guess of answer.top) {
    const row = at("answers").insertRow();
    row.insertCell().textContent = guess.label;
    const meter = document.createElement("meter");
    meter.value = guess.score;
    row.insertCell().append(meter);
    row.insertCell().textContent = (100 * guess.score).toFixed(2) + " %";
  }
  at("caption").hidden = false;
  answer.frames.forEach((frame, number) => {
    const image = document.createElement("img");
    image.src = frame;
    image.alt = "frame " + (number + 1);
    at("frames").append(image);
  });
}

let asked = 0;

async function ask(file) {
  const mine = ++asked;
  at("answers").replaceChildren();
  at("frames").replaceChildren();
  at("caption").hidden = true;
  say(file.name + " is on its way ...", false);
  const form = new FormData();
  form.append("file", file, file.name);
  const headers = at("token").value ? { Authorization: "Bearer " + at("token").value } : {};
  try {
    const response = await fetch("/predict?frames=true", { method: "POST", body: form, headers });
    const answer = await response.json();
    if (mine !== asked) return; // another video was dropped meanwhile
    if (response.ok) show(answer);
    else say(file.name + ": " + answer.error, true);
  } catch (error) {
    if (mine === asked) say(file.name + ": the service does not answer (" + error.message + ")", true);
  }
}

at("file").addEventListener("change", () => { if (at("file").files.length) ask(at("file").files[0]); });
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // a video that is dropped beside the field must not replace the page
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
  });
}
