// Starts aedes on a port of 127.0.0.1: node aedes.mjs PORT, with aedes installed by perf/peers.
import { createServer } from "node:net";
import { Aedes } from "./.tools/node_modules/aedes/aedes.js";

const broker = await Aedes.createBroker();
createServer({ noDelay: true }, broker.handle).listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
