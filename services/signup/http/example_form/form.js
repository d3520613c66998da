// What a form of your own does: solve the challenge while the person types, and send the solution as `challenge`.
const form = document.getElementById('signup');
const outcome = document.getElementById('outcome');
const widget = form.querySelector('altcha-widget');

globalThis.$altcha.algorithms.set('SHA-256', () => new Worker('/signup/example/altcha-sha.js'));

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  outcome.textContent = '';
  try {
    const answer = await fetch('/v1/signups', {
      method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: JSON.stringify(Object.fromEntries(new FormData(form))),
    });
    if (answer.ok) {
      outcome.textContent = 'Thank you. Please open the link in the mail that we have sent you.';
      form.reset();
    } else {
      outcome.textContent = (await answer.json()).detail;
    }
  } catch {
    outcome.textContent = 'This did not work. Please try again.';
  }
  widget.reset(); // each solution is good once
});
