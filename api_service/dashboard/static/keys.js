// Shows a key that was just made, once, and puts it into the snippets.

const PLACEHOLDER = "mt_YOUR_KEY";

function fillSnippets(answer) {
  for (const code of document.querySelectorAll('[role="tabpanel"] code')) {
    if (answer.url === null) code.textContent = code.textContent.replaceAll(PLACEHOLDER, answer.key);
  }
}

document.addEventListener("modeltrack:done", (event) => {
  const { answer } = event.detail;
  const panel = document.getElementById("made-key");
  if (event.target.dataset.then !== "show-key" || !panel || !answer?.key) return;
  panel.querySelector('[data-made="key"]').textContent = answer.key;
  panel.querySelector('[data-made="url"]').textContent = answer.url ?? "";
  panel.querySelector("[data-made-url]").hidden = answer.url === null;
  document.getElementById("key-form")?.remove();
  panel.hidden = false;
  fillSnippets(answer);
  panel.scrollIntoView({ block: "start" });
  panel.focus();
});
