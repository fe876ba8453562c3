// Says what came of a test, and shows a webhook's secret, once.

import { say } from "./app.js";
import { sayAtHead } from "./forms.js";

function tellTest(form, answer) {
  if (answer.delivered) say("It was delivered.");
  else sayAtHead(form, `It was not delivered: ${answer.message || answer.outcome}.`);
}

function showSecret(answer) {
  const panel = document.getElementById("secret");
  panel.querySelector('[data-made="secret"]').textContent = answer.secret;
  document.getElementById("make")?.remove();
  panel.hidden = false;
  panel.scrollIntoView({ block: "start" });
  panel.focus();
}

document.addEventListener("modeltrack:done", (event) => {
  const { answer } = event.detail;
  if (event.target.dataset.then === "told") tellTest(event.target, answer);
  if (event.target.dataset.then === "show-secret") showSecret(answer);
});
