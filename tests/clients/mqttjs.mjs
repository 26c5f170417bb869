// MQTT.js against a broker: node mqttjs.mjs HOST PORT USER PASSWORD [ws | wss CA]. Silent and 0 when all is well.

import { createRequire } from "node:module";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const { default: mqtt } = createRequire(new URL("../.tools/node/package.json", import.meta.url))("mqtt");
const [host, port, username, password, scheme = "mqtt", caFile] = process.argv.slice(2);
const ca = caFile && readFileSync(caFile);
const DEADLINE_MS = 10_000;

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One MQTT.js client, its messages in a queue. */
class Client {
  constructor(clientId, version, options = {}) {
    this.name = clientId;
    this.messages = [];
    this.wanting = [];
    this.mqtt = mqtt.connect(`${scheme}://${host}:${port}`, {
      clientId, username, password, ca, reconnectPeriod: 0,
      protocolId: version === 3 ? "MQIsdp" : "MQTT", protocolVersion: version, ...options,
    });
    this.mqtt.on("message", (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain };
      const taker = this.wanting.shift();
      if (taker) taker(message);
      else this.messages.push(message);
    });
    this.connack = new Promise((resolve, reject) => {
      this.mqtt.once("connect", resolve);
      this.mqtt.once("error", reject);
    });
    this.connack.catch(() => {});
    this.closed = new Promise((resolve) => this.mqtt.once("close", resolve));
  }
  async connect() {
    this.sessionPresent = (await within(this.connack, `CONNACK for ${this.name}`)).sessionPresent;
    this.mqtt.on("error", () => {});
    return this;
  }
  async subscribe(filter, qos) {
    const granted = await within(this.mqtt.subscribeAsync(filter, { qos }), `SUBACK for ${filter}`);
    assert.deepEqual(granted.map((g) => g.qos), [qos], `${this.name}: granted QoS of ${filter}`);
  }
  publish(topic, payload, options = {}) {
    return within(this.mqtt.publishAsync(topic, payload, options), `acknowledgement of ${topic}`);
  }
  async expect(topic, payload, qos = 0, retain = false) {
    const message = this.messages.length ? this.messages.shift() : await within(new Promise((resolve) => this.wanting.push(resolve)), `message on ${topic} for ${this.name}`);
    assert.deepEqual(message, { topic, payload, qos, retain }, `${this.name}: message`);
  }
  end() {
    return within(this.mqtt.endAsync(), `end of ${this.name}`);
  }
  async cut() {
    this.mqtt.stream.destroy();
    await within(this.closed, `end of ${this.name}`);
  }
}

async function run(version) {
  const prefix = `mqttjs/${version}`;
  const id = (name) => `mqttjs-${version}-${name}`;
  const open = (name, options) => new Client(id(name), version, options).connect();

  const refused = new Client(id("refused"), version, { password: `${password}x` });
  await assert.rejects(within(refused.connack, "refusal"), { code: 5 }, "a wrong password is refused with return code 5");
  await refused.mqtt.endAsync(true);

  const listener = await open("listener");
  const speaker = await open("speaker");
  for (const qos of [0, 1, 2]) {
    await listener.subscribe(`${prefix}/${qos}/+`, qos);
    for (const published of [0, 1, 2]) {
      await speaker.publish(`${prefix}/${qos}/Élan`, `héllo ${qos}${published}`, { qos: published });
      await listener.expect(`${prefix}/${qos}/Élan`, `héllo ${qos}${published}`, Math.min(qos, published));
    }
  }
  const burst = Array.from({ length: 200 }, (_, n) => speaker.publish(`${prefix}/1/burst`, `${n}`, { qos: 1 }));
  for (let n = 0; n < 200; n += 1) await listener.expect(`${prefix}/1/burst`, `${n}`, 1);
  await Promise.all(burst);

  await speaker.publish(`${prefix}/kept`, "value", { qos: 1, retain: true });
  await listener.subscribe(`${prefix}/kept/#`, 1);
  await listener.expect(`${prefix}/kept`, "value", 1, true);
  await speaker.publish(`${prefix}/kept`, "", { qos: 1, retain: true });
  await listener.expect(`${prefix}/kept`, "", 1);

  await listener.subscribe(`${prefix}/will`, 1);
  const mortal = await open("mortal", { will: { topic: `${prefix}/will`, payload: "gone", qos: 1, retain: false } });
  await mortal.cut();
  await listener.expect(`${prefix}/will`, "gone", 1);
  const polite = await open("polite", { will: { topic: `${prefix}/will`, payload: "wrong", qos: 1, retain: false } });
  await polite.end();

  await (await open("away")).end();
  const away = await open("away", { clean: false });
  assert.ok(!away.sessionPresent, "a new session is not present");
  await away.subscribe(`${prefix}/away`, 2);
  await away.end();
  for (const qos of [1, 2]) await speaker.publish(`${prefix}/away`, `for you ${qos}`, { qos });
  const back = await open("away", { clean: false });
  if (version > 3) assert.ok(back.sessionPresent, "the session is present at the return");
  for (const qos of [1, 2]) await back.expect(`${prefix}/away`, `for you ${qos}`, qos);

  const twin = await open("away", { clean: false });
  await within(back.closed, "end of the older connection with the same id");
  await speaker.publish(`${prefix}/away`, "twin", { qos: 1 });
  await twin.expect(`${prefix}/away`, "twin", 1);
  await twin.mqtt.unsubscribeAsync(`${prefix}/away`);
  await twin.end();
  await (await open("away")).end();

  await listener.subscribe(`${prefix}/last`, 1);
  await speaker.publish(`${prefix}/last`, "last", { qos: 1 });
  await listener.expect(`${prefix}/last`, "last", 1);
  await listener.end();
  await speaker.end();
}

try {
  await run(4);
  await run(3);
  process.exit(0);
} catch (error) {
  console.error(`mqttjs.mjs: ${error.message}`);
  process.exit(1);
}
