// The published JavaScript client (@durable-streams/client), unchanged, against the broker at STREAMKEEPER_URL.
// Each step asserts what it sees and then says so; the first that fails ends the run.
import assert from "node:assert/strict"
import { DurableStream, IdempotentProducer, StaleEpochError, stream } from "@durable-streams/client"

const root = `${process.env.STREAMKEEPER_URL}/v1/stream`
const done = (step) => console.log(`ok: ${step}`)
const bytes = (...values) => new Uint8Array(values)
const numbers = (from, to) => Array.from({ length: to - from }, (_, at) => ({ n: from + at }))

// Whatever is awaited here comes within milliseconds; a stall fails instead of hanging.
const soon = (promise, what) => {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came`)), 30_000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Reads items of a live session until there are `count`, or to its end.
const take = async (readable, count = Infinity) => {
  const items = []
  const reader = readable.getReader()
  while (items.length < count) {
    const { done, value } = await soon(reader.read(), `item ${items.length}`)
    if (done) break
    items.push(value)
  }
  return items
}

async function createAndAppend(url) {
  const handle = await DurableStream.create({ url, contentType: "application/json" })
  assert.match(handle.contentType, /^application\/json/)
  await assert.rejects(
    DurableStream.create({ url, contentType: "text/plain" }),
    (error) => error.status === 409
  )
  done("create, and a conflict with another content type")

  await handle.append(JSON.stringify({ n: 0 }), { seq: "0001" })
  // Appends while one is under way are batched by the client.
  await Promise.all(numbers(1, 20).map((item) => handle.append(JSON.stringify(item))))
  await assert.rejects(
    handle.append(JSON.stringify({ n: -1 }), { seq: "0001" }),
    (error) => error.status === 409
  )
  done("append, batched appends, and a seq that does not grow")
  return handle
}

async function producer(handle) {
  const failures = []
  const onError = (error) => failures.push(error)
  const writer = new IdempotentProducer(handle, "writer", { onError, lingerMs: 0, maxBatchBytes: 64 })
  for (const item of numbers(20, 120)) writer.append(JSON.stringify(item))
  await soon(writer.flush(), "flush")
  assert.deepEqual(failures, [])
  await writer.detach()

  const claiming = new IdempotentProducer(handle, "writer", { epoch: 3, onError })
  claiming.append(JSON.stringify({ n: 120 }))
  await soon(claiming.flush(), "flush")
  assert.deepEqual(failures, [])

  const fenced = new IdempotentProducer(handle, "writer", { epoch: 0, onError })
  fenced.append(JSON.stringify({ n: -1 }))
  await soon(fenced.flush().catch(onError), "flush")
  assert.ok(failures.some((error) => error instanceof StaleEpochError && error.currentEpoch === 3), failures)

  const heir = new IdempotentProducer(handle, "writer", { autoClaim: true, onError })
  heir.append(JSON.stringify({ n: 121 }))
  await soon(heir.flush(), "flush")
  assert.equal(heir.epoch, 4)
  done("idempotent producer: pipelined batches, a new epoch, a fenced one, a claimed one")
}

async function catchUp(url) {
  const session = await stream({ url, live: false })
  assert.deepEqual(await session.json(), numbers(0, 122))
  assert.equal(session.upToDate, true)
  assert.equal(session.streamClosed, false)
  const { offset } = await DurableStream.head({ url })
  assert.equal(session.offset, offset)
  const rest = await stream({ url, live: false, offset })
  assert.deepEqual(await rest.json(), [])
  done("catch-up from the beginning, and from the tail")
  return offset
}

// A live reader in `live` mode that gets what was there, what is appended, and the end of the stream.
async function live(name, mode) {
  const url = `${root}/${name}`
  const handle = await DurableStream.create({ url, contentType: "application/json", body: '[{"n":0},{"n":1}]' })
  const session = await stream({ url, live: mode })
  const items = session.jsonStream()
  const reading = take(items)
  for (const item of numbers(2, 12)) await handle.append(JSON.stringify(item))
  const { finalOffset } = await handle.close({ body: '{"n":12}' })
  assert.deepEqual(await soon(reading, "the end"), numbers(0, 13))
  assert.equal(session.streamClosed, true)
  assert.equal(session.offset, finalOffset)
  done(`${mode}: live appends, the record of the close, and the end`)
}

async function otherContent() {
  const text = { url: `${root}/clients-js/text`, contentType: "text/plain" }
  const lines = await DurableStream.create(text)
  const session = await stream({ ...text, live: "sse", offset: "-1" })
  const reading = take(session.textStream())
  await lines.append(" one\n")
  await lines.append("two\n\n")
  await lines.close()
  assert.equal((await soon(reading, "text")).join(""), " one\ntwo\n\n")

  const binary = { url: `${root}/clients-js/binary`, contentType: "application/octet-stream" }
  const handle = await DurableStream.create(binary)
  const chunks = take((await stream({ ...binary, live: "sse", offset: "-1" })).bodyStream())
  await handle.append(bytes(0, 255, 10, 13))
  await handle.close({ body: bytes(128) })
  const all = (await soon(chunks, "bytes")).flatMap((chunk) => [...chunk])
  assert.deepEqual(all, [0, 255, 10, 13, 128])
  done("SSE of text with its blanks and line ends, and of bytes")
}

async function closeAndDelete(handle, url) {
  const last = new IdempotentProducer(handle, "closer", {})
  const closed = await soon(last.close(JSON.stringify({ n: 122 })), "close")
  const head = await DurableStream.head({ url })
  assert.equal(head.streamClosed, true)
  assert.equal(head.offset, closed.finalOffset)
  await assert.rejects(handle.append(JSON.stringify({ n: -1 })))
  const session = await stream({ url, live: true })
  assert.deepEqual(await take(session.jsonStream()), numbers(0, 123))
  assert.equal(session.streamClosed, true)
  done("a producer closes with a last record; nothing more is taken; readers see the end")

  await handle.delete()
  await assert.rejects(stream({ url, live: false }), (error) => error.status === 404)
  done("delete")
}

const url = `${root}/clients-js/first`
const handle = await createAndAppend(url)
await producer(handle)
await catchUp(url)
await live("clients-js/long-poll", "long-poll")
await live("clients-js/sse", "sse")
await otherContent()
await closeAndDelete(handle, url)
