// MQTT.js with clean: false that subscribes once: node restart_mqttjs.mjs HOST PORT. It prints "ready", then a line for each
// message, through any number of lost connections.

import { createRequire } from "node:module";

const { default: mqtt } = createRequire(new URL("../.tools/node/package.json", import.meta.url))("mqtt");
const [host, port] = process.argv.slice(2);
const client = mqtt.connect(`mqtt://${host}:${port}`, {
  clientId: "restart-mqttjs", clean: false, resubscribe: false, reconnectPeriod: 200,
});
client.on("error", () => {});
client.on("message", (topic, payload) => console.log(`${topic} ${payload}`));
client.once("connect", async () => {
  await client.subscribeAsync("restart/#", { qos: 2 });
  console.log("ready");
  client.on("connect", (connack) => {
    if (!connack.sessionPresent) console.log("the session is gone");
  });
});
