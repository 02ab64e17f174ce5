// Jump to one of the pages, each as likely as another: folders with their ranges of neurons, both ends included.
"use strict";
{
  const all = JSON.parse(document.getElementById("pages").dataset.pages)
    .flatMap(([folder, ranges]) => ranges.map(([low, high]) => ({ folder, low, size: high - low + 1 })));
  let at = Math.floor(Math.random() * all.reduce((sum, { size }) => sum + size, 0));
  for (const { folder, low, size } of all) {
    if (at < size) {
      location.replace(`${folder}${low + at}.html`);
      break;
    }
    at -= size;
  }
}
