// The network of a plan (benchmarks/gossip_stacks/plan.py) on js-libp2p, in this one process.
import { readFileSync } from 'node:fs'
import { randomFillSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeHost } from './host.mjs'

const plan = JSON.parse(readFileSync(0, 'utf8'))
const expected = plan.messages * (plan.nodes - 1)
const publisher = (number) => (number * 7) % plan.nodes
const sentMs = new Map()
const seen = new Set()
const latenciesMs = []

function received (node, data) {
  if (data.length !== plan.bytes) return
  const number = Number(Buffer.from(data.subarray(0, 8)).readBigUInt64BE())
  const key = number * plan.nodes + node
  if (!sentMs.has(number) || publisher(number) === node || seen.has(key)) return
  seen.add(key)
  latenciesMs.push(performance.now() - sentMs.get(number))
}

function payload (number) {
  const data = Buffer.alloc(plan.bytes)
  randomFillSync(data)
  data.writeBigUInt64BE(BigInt(number))
  return data
}

function quantileMs (ordered, share) {
  if (ordered.length === 0) return 0
  return ordered[Math.min(ordered.length - 1, Math.floor(ordered.length * share))]
}

const hosts = []
for (let node = 0; node < plan.nodes; node++) {
  const host = await makeHost({
    D: plan.degree, Dlo: plan.degree_low, Dhi: plan.degree_high, heartbeatInterval: plan.heartbeat_ms,
    globalSignaturePolicy: plan.signed ? 'StrictSign' : 'StrictNoSign'
  })
  host.services.pubsub.addEventListener('message', (event) => received(node, event.detail.data))
  host.services.pubsub.subscribe(plan.topic)
  hosts.push(host)
}
for (const [dialer, dialed] of plan.edges) {
  await hosts[dialer].dial(hosts[dialed].getMultiaddrs()[0])
}
await sleep(plan.warm_up_s * 500)
for (let number = 0; number < plan.warm_up_messages; number++) {
  await hosts[number % plan.nodes].services.pubsub.publish(plan.topic, Buffer.from(`warm up ${number}`))
  await sleep(plan.warm_up_s * 500 / plan.warm_up_messages)
}

const startedMs = performance.now()
const startedCpu = process.cpuUsage()
for (let number = 0; number < plan.messages; number++) {
  const early = startedMs + number * 1000 / plan.rate - performance.now()
  if (early > 0) await sleep(early)
  sentMs.set(number, performance.now())
  // Not awaited: a publication must not hold up the next one's moment.
  hosts[publisher(number)].services.pubsub.publish(plan.topic, payload(number)).catch((error) => console.error(error))
}
const lastMs = performance.now()
while (latenciesMs.length < expected && performance.now() - lastMs < plan.tail_s * 1000) await sleep(10)
const cpu = process.cpuUsage(startedCpu)
latenciesMs.sort((a, b) => a - b)
const degree = hosts.reduce((sum, host) => sum + host.services.pubsub.getMeshPeers(plan.topic).length, 0)
console.log(JSON.stringify({
  cpu_ms: (cpu.user + cpu.system) / 1000,
  deliveries: latenciesMs.length,
  expected,
  p50_ms: quantileMs(latenciesMs, 0.5),
  p99_ms: quantileMs(latenciesMs, 0.99),
  seconds: (performance.now() - startedMs) / 1000,
  mesh_degree: degree / plan.nodes,
  version: `@libp2p/gossipsub, Node ${process.version}`
}))
process.exit(0)
