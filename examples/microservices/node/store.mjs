#!/usr/bin/env node
// A store that takes part in transactions, written from docs/http.md alone: a
// participant may be in any language. It needs nothing but Node.js 20.
//
//   node store.mjs --port 8081 --log store.log --stock "masala dosa=24" --stock idli=10
//
// What changes is appended to a log, and durable before it is answered. The log
// is read when the store starts. One process at a time may use it.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { createServer } from 'node:http'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'

const DAY = 24 * 3600_000
const RETENTION = DAY // of what is finished: longer than any transaction and its slowest message
const LIMITS = { id: 255, body: (256 << 10) + (4 << 10), hold: 30 * DAY, count: 1000 }
const STATUS = { refused: 409, mismatch: 422, expired: 410, released: 410, unknown: 404, invalid: 400, internal: 500 }

class Problem extends Error {
  constructor(reason, detail, status = STATUS[reason]) {
    super(detail)
    Object.assign(this, { reason, status })
  }
}

const { values: flags } = parseArgs({
  options: { port: { type: 'string' }, log: { type: 'string' }, stock: { type: 'string', multiple: true } },
})
const stock = (flags.stock ?? []).map((line) => /^(.+)=(\d{1,6})$/.exec(line))
if (!flags.log || !/^\d+$/.test(flags.port ?? '') || stock.length === 0 || stock.includes(null)) {
  console.error('usage: node store.mjs --port 8081 --log store.log --stock "masala dosa=24" [--stock …]')
  process.exit(2)
}

// The books: what is on record for each key, and who holds each resource.
const entries = new Map() // id -> { state, fingerprint, kind, resources, expires, finished }
const finished = new Set() // ids of what is released or expired, the oldest first
const shelves = new Map(stock.map(([, kind, count]) =>
  [kind, new Map(Array.from({ length: count }, (_, i) => [`${kind}-${i + 1}`, null]))]))

function put(id, entry) {
  const holds = entry.state === 'reserved' || entry.state === 'assigned'
  const shelf = shelves.get(entry.kind)
  for (const resource of entry.resources ?? []) {
    if (holds) shelf?.set(resource, id)
    else if (shelf?.get(resource) === id) shelf.set(resource, null)
  }
  entries.set(id, entry)
  if (!holds) finished.add(id)
}

// forget drops up to n finished entries that are past their retention.
function forget(n) {
  for (const id of finished) {
    if (n-- <= 0 || Date.now() - entries.get(id).finished < RETENTION) return
    finished.delete(id)
    entries.delete(id)
  }
}

// The log. Changes of calls that come together are written and synced together.
let log, unwritten = '', waiting = [], writing = false

function change(id, entry) {
  put(id, entry)
  unwritten += JSON.stringify([id, entry]) + '\n'
}

// durable resolves when all that was changed up to now is on disk. If that fails
// the process ends: nobody is told what may be forgotten.
function durable() {
  return new Promise((resolve) => {
    waiting.push(resolve)
    if (!writing) write()
  })
}

async function write() {
  for (writing = true; waiting.length > 0;) {
    const [lines, told] = [unwritten, waiting]
    unwritten = ''
    waiting = []
    if (lines) {
      await log.appendFile(lines)
      await log.datasync()
    }
    told.forEach((resolve) => resolve())
  }
  writing = false
}

// openLog reads the log, and writes it anew without what may be forgotten. A
// last line that was cut off was never answered.
async function openLog(path) {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  for (const line of text.split('\n').slice(0, -1)) put(...JSON.parse(line))
  forget(Infinity)
  const fresh = await open(path + '.new', 'w')
  await fresh.appendFile([...entries].map((entry) => JSON.stringify(entry) + '\n').join(''))
  await fresh.sync()
  await fresh.close()
  await rename(path + '.new', path)
  const folder = await open(dirname(path))
  await folder.sync()
  await folder.close()
  return open(path, 'a')
}

// current returns what is on record for a key, expired if its time has run out.
function current(id, now) {
  const entry = entries.get(id)
  if (entry?.state === 'reserved' && now >= entry.expires) change(id, { ...entry, state: 'expired', finished: now })
  return entries.get(id)
}

// held returns an entry that holds something. Any other turns the call away.
function held(id, now) {
  const entry = current(id, now)
  if (!entry) throw new Problem('unknown', `nothing is on record for ${id}`)
  if (finished.has(id)) throw new Problem(entry.state, `${id} is ${entry.state}`)
  return entry
}

// take returns what a payload asks for, all or nothing.
function take(payload, now) {
  const { kind, count = 1 } = payload ?? {}
  if (typeof kind !== 'string' || !Number.isInteger(count) || count < 1 || count > LIMITS.count) {
    throw new Problem('refused', `the payload must be {"kind": …, "count": 1 to ${LIMITS.count}}`)
  }
  const resources = []
  for (const [resource, holder] of shelves.get(kind) ?? []) {
    if (holder === null || current(holder, now).state === 'expired') resources.push(resource)
    if (resources.length === count) return { kind, resources }
  }
  throw new Problem('refused', `${count} of ${kind} wanted, ${resources.length} free`)
}

// The calls. Each runs from beginning to end with no other in between.
const calls = {
  PUT(id, now, { payload = null, hold_ms: hold }) {
    const fingerprint = createHash('sha256').update(JSON.stringify(payload)).digest('hex')
    const before = current(id, now)
    if (before?.fingerprint && before.fingerprint !== fingerprint) {
      throw new Problem('mismatch', `another payload is on record for ${id}`)
    }
    if (!before) change(id, { state: 'reserved', fingerprint, ...take(payload, now), expires: now + hold })
    const { state, resources, expires } = held(id, now)
    return { state, resources, time_left_ms: state === 'reserved' ? expires - now : undefined }
  },
  POST(id, now) { // the state counts before the clock: what is assigned stays so
    const entry = held(id, now)
    if (entry.state === 'reserved') change(id, { ...entry, state: 'assigned' })
    return { state: 'assigned' }
  },
  DELETE(id, now) { // leaves a tombstone where there was nothing, for a Reserve that may yet come
    const entry = current(id, now)
    finished.delete(id)
    if (entry?.state !== 'released') change(id, { ...entry, state: 'released', finished: now })
    else finished.add(id)
    return { state: 'released' }
  },
}

// keyOf returns the key of a path. It is split before it is decoded: an id may
// have a slash.
function keyOf(req) {
  const [, transaction, step, assignment] = /^\/reservations\/([^/?]+)\/([^/?]+)(\/assignment)?$/.exec(req.url) ?? []
  if (!step) throw new Problem('invalid', 'the path is /reservations/{transaction}/{step}[/assignment]', 404)
  if (!(assignment ? ['POST'] : ['PUT', 'DELETE']).includes(req.method)) throw new Problem('invalid', 'no such method', 405)
  return JSON.stringify([transaction, step].map((segment) => {
    let id = ''
    try { id = decodeURIComponent(segment) } catch { /* refused below */ }
    if (id && Buffer.byteLength(id) <= LIMITS.id && !/\p{Cc}/u.test(id)) return id
    throw new Problem('invalid', `an id is 1 to ${LIMITS.id} bytes of percent-encoded UTF-8 without control characters`)
  }))
}

async function bodyOf(req) {
  const chunks = []
  let size = 0
  for await (const chunk of req.iterator({ destroyOnReturn: false })) {
    if ((size += chunk.length) > LIMITS.body) throw new Problem('invalid', `more than ${LIMITS.body} bytes`, 413)
    chunks.push(chunk)
  }
  if (req.method !== 'PUT') return undefined
  if (!/^application\/json\s*(;|$)/i.test(req.headers['content-type'] ?? '')) throw new Problem('invalid', 'it must be application/json', 415)
  let body = null
  try { body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))) } catch { /* refused below */ }
  const { payload, hold_ms: hold, ...unknown } = body ?? {}
  if (Number.isInteger(hold) && hold >= 1 && hold <= LIMITS.hold && Object.keys(unknown).length === 0) return body
  throw new Problem('invalid', `the body is {"payload": …, "hold_ms": 1 to ${LIMITS.hold}}`)
}

async function serve(req, res) {
  let [status, type, answer] = [200, 'application/json', null]
  try {
    const id = keyOf(req)
    res.setHeader('Idempotency-Key', `"${req.url.split('/').slice(2, 4).join('/')}"`) // what this is the answer to
    const body = await bodyOf(req)
    forget(2)
    answer = calls[req.method](id, Date.now(), body)
  } catch (error) {
    if (!(error instanceof Problem)) console.error(error)
    const { reason, message } = error instanceof Problem ? error : new Problem('internal', 'see the log of the store')
    status = error.status ?? STATUS.internal
    type = 'application/problem+json'
    answer = { type: `https://github.com/seed-bcc3c603/twophase/blob/main/docs/http.md#${reason}`, title: reason, status, detail: message, reason }
  }
  await durable() // an answer may tell of what another call has changed just now
  if (!req.complete) res.setHeader('Connection', 'close')
  res.writeHead(status, { 'Content-Type': type }).end(JSON.stringify(answer))
}

log = await openLog(flags.log)
const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 120_000 }, serve)
server.listen(Number(flags.port), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}/`))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => { server.close(); server.closeIdleConnections() })
