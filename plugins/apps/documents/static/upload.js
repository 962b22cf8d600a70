// Uploads files directly to the storage, with their progress, and takes files that are dropped on
// the form. Without this the form sends them itself.
const form = document.getElementById("upload");
const input = document.getElementById("file");
const list = document.getElementById("progress");

async function call(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

function put(ticket, file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", ticket.url);
    request.setRequestHeader("content-type", ticket.content_type);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    request.addEventListener("load", () =>
      request.status < 300 ? resolve() : reject(new Error(`the storage answered ${request.status}`)));
    request.addEventListener("error", () => reject(new Error("the connection broke")));
    request.send(file);
  });
}

async function upload(file) {
  const item = document.createElement("li");
  const bar = document.createElement("progress");
  const label = document.createElement("label");
  bar.max = Math.max(file.size, 1);
  bar.value = 0;
  label.append(`Uploading ${file.name}`, bar);
  item.append(label);
  list.append(item);
  try {
    const ticket = await call("/api/uploads", {
      folder: Number(form.dataset.folder),
      name: file.name,
      size: file.size,
      content_type: file.type || null,
    });
    await put(ticket, file, (loaded) => { bar.value = loaded; });
    await call(`/api/uploads/${ticket.upload}`, {});
    item.textContent = `${file.name} is uploaded.`;
    return true;
  } catch (error) {
    item.textContent = `${file.name} could not be uploaded: ${error.message}`;
    item.className = "problem";
    return false;
  }
}

async function uploadAll(files) {
  let whole = true;
  for (const file of files) whole = (await upload(file)) && whole;
  if (whole) location.reload();
}

if (form && input && list) {
  form.querySelector(".scripted").hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    uploadAll([...input.files]);
  });
  for (const kind of ["dragenter", "dragover"]) {
    form.addEventListener(kind, (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
  }
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    uploadAll([...event.dataTransfer.files]);
  });
}
