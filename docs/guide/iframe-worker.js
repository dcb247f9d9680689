// Browsers start no Worker from file://. There the search runs in a hidden frame, behind the same few methods.
if (location.protocol === "file:") {
  class FrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.setAttribute("aria-hidden", "true")
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      const load = address => new Promise((done, fail) => {
        const script = frame.contentDocument.createElement("script")
        script.onload = done
        script.onerror = fail
        script.src = address
        frame.contentDocument.body.append(script)
      })
      inside.importScripts = (...addresses) => addresses.reduce((all, one) => all.then(() => load(one)), Promise.resolve())
      load(url).then(() => {
        this.deliver = data => inside.dispatchEvent(new MessageEvent("message", { data }))
        this.waiting.splice(0).forEach(this.deliver)
      })
    }
    postMessage(data) {
      if (this.deliver) this.deliver(data)
      else this.waiting.push(data)
    }
  }
  window.IFrameWorker = window.Worker = FrameWorker  // the first name is the one by which the theme knows such a frame
}
