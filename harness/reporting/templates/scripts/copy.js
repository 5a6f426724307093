// A button beside each command that puts it on the clipboard.

function copyButtons(words) {
  document.querySelectorAll("pre.command").forEach((block) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = words.copy;
    button.addEventListener("click", async () => {
      await copied(block.querySelector("code"));
      button.textContent = words.copied;
      setTimeout(() => (button.textContent = words.copy), 2000);
    });
    const box = document.createElement("div");
    box.className = "copied-from";
    block.replaceWith(box);
    box.append(block, button);
  });
}

async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    const range = document.createRange(); // where a page from disk may not write to the clipboard by itself
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    document.execCommand("copy");
  }
}
