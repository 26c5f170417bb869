// A Zigbee adapter without a radio, for `tests/programs/run`: loaded before zigbee2mqtt (`node -r`), it answers in the place of the stick.
// All else is zigbee2mqtt's own: its MQTT client, its devices, its discovery for Home Assistant.
//
// The house has a lamp, which does what it is told, and a sensor, which sends 21.50 °C every second.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const herdsman = path.join(process.cwd(), "node_modules/zigbee-herdsman");
const { Adapter } = require(path.join(herdsman, "dist/adapter/adapter.js"));
const Zcl = require(path.join(herdsman, "dist/zspec/zcl"));

const coordinator = "0x00124b0000000001";
const endpoint = (device, profile, clusters) => ({
    1: { profId: 260, epId: 1, devId: profile, inClusterList: clusters, outClusterList: [], clusters: {}, binds: [], configuredReportings: [], meta: {} },
});
const devices = [
    { id: 1, type: "Coordinator", ieeeAddr: coordinator, nwkAddr: 0, manufId: 0, epList: [1], endpoints: endpoint(0, 5, []), interviewCompleted: true, meta: {} },
    { id: 2, type: "Router", ieeeAddr: "0x0000000000000002", nwkAddr: 2, manufId: 4476, manufName: "IKEA of Sweden", powerSource: "Mains (single phase)",
      modelId: "TRADFRI bulb E27 WS opal 980lm", epList: [1], endpoints: endpoint(2, 544, [0, 3, 4, 5, 6, 8, 768]), interviewCompleted: true, meta: { configured: 1 } },
    { id: 3, type: "EndDevice", ieeeAddr: "0x0000000000000003", nwkAddr: 3, manufId: 4151, manufName: "LUMI", powerSource: "Battery",
      modelId: "lumi.weather", epList: [1], endpoints: endpoint(3, 770, [0, 1026, 1027, 1029]), interviewCompleted: true, meta: {} },
];
fs.writeFileSync(path.join(process.env.ZIGBEE2MQTT_DATA, "database.db"), devices.map((device) => JSON.stringify(device)).join("\n"));

class NoRadio extends Adapter {
    async start() {
        this.clock = setInterval(() => this.emit("zclPayload", {
            clusterID: 1026, address: 3, endpoint: 1, destinationEndpoint: 1, linkquality: 100, groupID: 0, wasBroadcast: false,
            ...frame(0x0a, Buffer.from([0x00, 0x00, 0x29, 0x66, 0x08])),
        }), 1000);
        return "resumed";
    }
    async stop() { clearInterval(this.clock); }
    async getCoordinatorIEEE() { return coordinator; }
    async getCoordinatorVersion() { return { type: "none", meta: {} }; }
    async getNetworkParameters() {
        const { panID, extendedPanID, channelList } = this.networkOptions;
        return { panID, extendedPanID: `0x${Buffer.from(extendedPanID).toString("hex")}`, channel: channelList[0], nwkUpdateID: 0 };
    }
    async supportsBackup() { return false; }
    async permitJoin() {}
    async sendZdo() {}
    async sendZclFrameToGroup() {}
    async sendZclFrameToAll() {}
    // Any command is done, and said to be (Default Response of ZCL, status 0); of an attribute that is read there is none (0x86).
    async sendZclFrameToEndpoint(_ieee, address, _endpoint, sent) {
        console.log(`radio: ${sent.command.name} to ${address}`);
        const none = ({ attrId }) => [attrId & 0xff, attrId >> 8, 0x86];
        const [command, payload] = sent.command.name === "read" ? [0x01, sent.payload.flatMap(none)] : [0x0b, [sent.header.commandIdentifier, 0]];
        const answer = frame(command, Buffer.from(payload), sent.header.transactionSequenceNumber);
        return { clusterID: sent.cluster.ID, address, endpoint: 1, destinationEndpoint: 1, linkquality: 100, groupID: 0, wasBroadcast: false, ...answer };
    }
}

/** A frame of the profile-wide commands, from a device to the coordinator. */
function frame(command, payload, sequence = 1) {
    const data = Buffer.concat([Buffer.from([0x18, sequence, command]), payload]);
    return { data, header: Zcl.Header.fromBuffer(data) };
}

Adapter.create = async (network, port, backup, options) => new NoRadio(network, port, backup, options);
