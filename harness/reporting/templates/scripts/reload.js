// The page of a running sweep loads itself again, until the reader wants it to stay as it is.

function reloads(button) {
  let timer = setTimeout(() => location.reload(), 1000 * button.dataset.reload);
  button.hidden = false;
  button.addEventListener("click", () => {
    if (timer === null) location.reload();
    clearTimeout(timer);
    timer = null;
    button.textContent = button.dataset.stopped;
  });
}
