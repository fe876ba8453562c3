// Shows what setting up a second factor answers, once: the secret, then the recovery codes.

function fill(panel, answer) {
  for (const place of panel.querySelectorAll("[data-made]")) {
    const value = answer[place.dataset.made];
    if (place instanceof HTMLImageElement) place.src = value;
    else place.textContent = Array.isArray(value) ? value.join("\n") : value;
  }
}

document.addEventListener("modeltrack:done", (event) => {
  const panel = document.getElementById(event.target.dataset.then ?? "");
  const { answer } = event.detail;
  if (!panel?.matches("#enrolment, #recovery-codes") || !answer) return;
  fill(panel, answer);
  // a new session has begun when the factor is on: what is sent from here on carries its token
  const token = document.querySelector('meta[name="csrf-token"]');
  if (token && answer.csrf_token) token.content = answer.csrf_token;
  event.target.hidden = true;
  if (panel.id === "recovery-codes") document.getElementById("enrolment")?.setAttribute("hidden", "");
  panel.hidden = false;
  panel.focus();
});
