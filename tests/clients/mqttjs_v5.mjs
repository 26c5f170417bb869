// MQTT.js at MQTT 5.0 against a broker: node mqttjs_v5.mjs HOST PORT USER PASSWORD. Silent and 0 when all is well.

import { createRequire } from "node:module";
import assert from "node:assert/strict";

const { default: mqtt } = createRequire(new URL("../.tools/node/package.json", import.meta.url))("mqtt");
const [host, port, username, password] = process.argv.slice(2);
const DEADLINE_MS = 10_000;

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Properties without what the decoder adds, as plain objects. */
function plain(properties = {}) {
  const { topicAlias, ...rest } = properties;
  if (rest.userProperties) rest.userProperties = { ...rest.userProperties };
  return rest;
}

/** One MQTT.js client, its messages in a queue. */
class Client {
  constructor(clientId, properties = {}, options = {}) {
    this.name = clientId;
    this.messages = [];
    this.wanting = [];
    this.mqtt = mqtt.connect(`mqtt://${host}:${port}`, {
      clientId, username, password, reconnectPeriod: 0, protocolVersion: 5, properties, ...options,
    });
    this.mqtt.on("message", (topic, payload, packet) => {
      const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, properties: plain(packet.properties) };
      const taker = this.wanting.shift();
      if (taker) taker(message);
      else this.messages.push(message);
    });
    this.connack = new Promise((resolve, reject) => {
      this.mqtt.once("connect", resolve);
      this.mqtt.once("error", reject);
    });
    this.connack.catch(() => {});
    this.disconnected = new Promise((resolve) => this.mqtt.once("disconnect", resolve));
    this.closed = new Promise((resolve) => this.mqtt.once("close", resolve));
  }
  async connect() {
    this.told = await within(this.connack, `CONNACK for ${this.name}`);
    this.mqtt.on("error", () => {});
    return this;
  }
  async subscribe(filter, options) {
    const granted = await within(this.mqtt.subscribeAsync(filter, options), `SUBACK for ${filter}`);
    assert.deepEqual(granted.map((g) => g.qos), [options.qos], `${this.name}: granted QoS of ${filter}`);
  }
  publish(topic, payload, properties = {}, options = {}) {
    return within(this.mqtt.publishAsync(topic, payload, { qos: 1, properties, ...options }), `acknowledgement of ${topic}`);
  }
  take(topic) {
    if (this.messages.length) return this.messages.shift();
    return within(new Promise((resolve) => this.wanting.push(resolve)), `message on ${topic} for ${this.name}`);
  }
  async expect(topic, payload, properties = {}, { qos = 1, retain = false } = {}) {
    assert.deepEqual(await this.take(topic), { topic, payload, qos, retain, properties }, `${this.name}: message`);
  }
  end(options = {}) {
    return within(this.mqtt.endAsync(false, options), `end of ${this.name}`);
  }
  async cut() {
    this.mqtt.stream.destroy();
    await within(this.closed, `end of ${this.name}`);
  }
}

async function run() {
  const open = (name, properties, options) => new Client(`js5-${name}`, properties, options).connect();

  const refused = new Client("js5-refused", {}, { password: `${password}x` });
  await assert.rejects(within(refused.connack, "refusal"), { code: 0x87 }, "a wrong password is refused with 0x87");
  await refused.mqtt.endAsync(true);

  const listener = await open("listener");
  const speaker = await open("speaker");

  // Every property, for every QoS.
  const everything = {
    payloadFormatIndicator: true,
    contentType: "text/plain",
    responseTopic: "js5/réponse",
    correlationData: Buffer.from([0, 255]),
    userProperties: { b: ["1", "3"], a: "2" },
  };
  await listener.subscribe("js5/all/#", { qos: 2 });
  for (const qos of [0, 1, 2]) {
    await speaker.publish("js5/all/x", "élan", everything, { qos });
    await listener.expect("js5/all/x", "élan", everything, { qos });
  }

  // Aliases chosen by the library, towards the broker, more topics than aliases.
  const most = speaker.told.properties.topicAliasMaximum;
  assert.ok(most > 0, "the broker offers aliases");
  const aliasing = await open("aliasing", {}, { autoUseTopicAlias: true, autoAssignTopicAlias: true });
  await listener.subscribe("js5/alias/+", { qos: 1 });
  for (let round = 0; round < 3; round += 1) {
    for (let n = 0; n < most + 5; n += 1) {
      await aliasing.publish(`js5/alias/${n}`, `${round} ${n}`);
      await listener.expect(`js5/alias/${n}`, `${round} ${n}`);
    }
  }
  await aliasing.end();

  // Aliases chosen by the broker: a topic heard often has one, within what we allow, and is then no longer named.
  const aliased = await open("aliased", { topicAliasMaximum: 2 });
  const seen = [];
  aliased.mqtt.on("packetreceive", (packet) => {
    if (packet.cmd === "publish") seen.push([packet.topic.length > 0, packet.properties?.topicAlias]);
  });
  await aliased.subscribe("js5/outward/+", { qos: 1 });
  for (let round = 0; round < 5; round += 1) {
    for (const name of ["often", "often", "often", `rare${round}`]) {
      await speaker.publish(`js5/outward/${name}`, `${round}`);
      await aliased.expect(`js5/outward/${name}`, `${round}`);
    }
  }
  assert.ok(seen.some(([named, alias]) => !named && alias > 0), "an alias stands for a topic");
  assert.ok(seen.every(([, alias]) => alias === undefined || (alias >= 1 && alias <= 2)), "no alias beyond our maximum");
  assert.ok(seen.every(([named, alias]) => named || alias), "a topic or an alias");
  await aliased.end();

  // Identifiers.
  await listener.subscribe("js5/id", { qos: 1, properties: { subscriptionIdentifier: 300 } });
  await speaker.publish("js5/id", "told");
  await listener.expect("js5/id", "told", { subscriptionIdentifier: 300 });

  // No Local, Retain As Published, Retain Handling.
  await speaker.subscribe("js5/not", { qos: 1, nl: true });
  await speaker.publish("js5/not", "unheard");
  await speaker.subscribe("js5/heard", { qos: 1 });
  await speaker.publish("js5/heard", "heard");
  await speaker.expect("js5/heard", "heard");
  await speaker.publish("js5/kept", "value", {}, { retain: true });
  await listener.subscribe("js5/kept", { qos: 1, rh: 2 });
  await listener.subscribe("js5/kept", { qos: 1, rh: 1 });
  await listener.subscribe("js5/kept", { qos: 1, rh: 0, rap: true });
  await listener.expect("js5/kept", "value", {}, { retain: true });
  await speaker.publish("js5/kept", "", {}, { retain: true });
  await listener.expect("js5/kept", "", {}, { retain: true });

  // A will with properties; one delayed until its session ends.
  await listener.subscribe("js5/will/+", { qos: 1 });
  const will = (name, properties) => ({ topic: `js5/will/${name}`, payload: "gone", qos: 1, retain: false, properties });
  const mortal = await open("mortal", {}, { will: will("cut", { contentType: "text", userProperties: { k: "v" } }) });
  await mortal.cut();
  await listener.expect("js5/will/cut", "gone", { contentType: "text", userProperties: { k: "v" } });
  const delayed = await open("delayed", { sessionExpiryInterval: 1 }, { will: will("delayed", { willDelayInterval: 1000 }) });
  await delayed.cut();
  await listener.expect("js5/will/delayed", "gone");

  // A session with an end, its takeover, and its end by DISCONNECT.
  const sessionExpiryInterval = 60;
  const away = await open("away", { sessionExpiryInterval });
  assert.ok(!away.told.sessionPresent, "a new session is not present");
  await away.subscribe("js5/away", { qos: 2 });
  await away.end();
  for (const qos of [1, 2]) await speaker.publish("js5/away", `for you ${qos}`, { messageExpiryInterval: 1000 }, { qos });
  const back = await open("away", { sessionExpiryInterval, receiveMaximum: 1 }, { clean: false });
  assert.ok(back.told.sessionPresent, "the session is present at the return");
  for (const qos of [1, 2]) {
    const message = await back.take("js5/away");
    assert.deepEqual([message.payload, message.qos], [`for you ${qos}`, qos]);
    const left = message.properties.messageExpiryInterval;
    assert.ok(left > 900 && left <= 1000, `${left} s left of 1000`);
  }
  const twin = await open("away", { sessionExpiryInterval }, { clean: false });
  const told = await within(back.disconnected, "DISCONNECT for the older connection");
  assert.equal(told.reasonCode, 0x8e, "the older connection is told that its session was taken over");
  await twin.end({ properties: { sessionExpiryInterval: 0 } });
  const again = await open("away", {}, { clean: false });
  assert.ok(!again.told.sessionPresent, "DISCONNECT ended the session");
  await again.end();

  // Request and response.
  const server = await open("server");
  await server.subscribe("js5/ask", { qos: 1 });
  await speaker.subscribe("js5/answer", { qos: 1 });
  const correlationData = Buffer.from("n° 7");
  await speaker.publish("js5/ask", "2 + 2", { responseTopic: "js5/answer", correlationData });
  const request = await server.take("js5/ask");
  await server.publish(request.properties.responseTopic, "4", { correlationData: request.properties.correlationData });
  await speaker.expect("js5/answer", "4", { correlationData });
  await server.end();

  assert.deepEqual([listener.messages, speaker.messages], [[], []], "nothing came too much");
  await listener.end();
  await speaker.end();
}

try {
  await run();
  process.exit(0);
} catch (error) {
  console.error(`mqttjs_v5.mjs: ${error.message}`);
  process.exit(1);
}
