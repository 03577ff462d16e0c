// One js-libp2p peer, told what to do by JSON lines on standard input: see tests/interop/foreign.py.
// It ends with its standard input.
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { makeHost } from './host.mjs'

const { multiaddr } = await import('@multiformats/multiaddr')
const topic = process.argv[2]

function say (event) {
  process.stdout.write(JSON.stringify(event) + '\n')
}

function messageId (message) {
  const name = Buffer.from(message.topic)
  const size = Buffer.alloc(4)
  size.writeUInt32BE(name.length)
  return createHash('sha256').update(size).update(name).update(message.data).digest().subarray(0, 20)
}

const host = await makeHost({ msgIdFn: messageId, floodPublish: false })
const pubsub = host.services.pubsub
pubsub.addEventListener('message', (event) => {
  say({ event: 'message', data: Buffer.from(event.detail.data).toString('hex') })
})
pubsub.subscribe(topic)
say({ event: 'ready', address: host.getMultiaddrs()[0].toString() })

const orders = {
  dial: async ({ address }) => {
    await host.dial(multiaddr(address))
    say({ event: 'dialed' })
  },
  publish: async ({ data }) => { await pubsub.publish(topic, Buffer.from(data, 'hex')) },
  leave: async () => { pubsub.unsubscribe(topic) },
  join: async () => { pubsub.subscribe(topic) },
  mesh: async () => { say({ event: 'mesh', peers: pubsub.getMeshPeers(topic) }) },
  ping: async ({ address }) => {
    say({ event: 'pong', ms: await host.services.ping.ping(multiaddr(address)) })
  },
  identify: async ({ address }) => {
    const result = await host.services.identify.identify(await host.dial(multiaddr(address)))
    say({ event: 'identified', agent: result.agentVersion, protocols: result.protocols })
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  await orders[order.do](order)
}
process.exit(0)
