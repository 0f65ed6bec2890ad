// An agent made of the OpAMP client for Node.js alone.  It polls; what it
// hears and what fails goes to standard output.
'use strict';

const {readFileSync} = require('node:fs');
const {subscribe} = require('node:diagnostics_channel');
const {parseArgs} = require('node:util');
const {
    createOpAMPClient,
    DIAG_CH_SEND_FAIL,
    DIAG_CH_SEND_SUCCESS,
} = require('@elastic/opamp-client-node');

const text = {type: 'string'};
const {values} = parseArgs({
    options: {
        endpoint: text,
        uid: text,
        'token-file': text,
        'ca-file': text,
        heartbeat: text,
    },
});
const token = readFileSync(values['token-file'], 'utf8').trim();

// All but the name is the client's own choice: it takes no settings, and
// refuses to be told to say that it does.
const client = createOpAMPClient({
    endpoint: values.endpoint,
    instanceUid: values.uid,
    headers: {Authorization: `Bearer ${token}`},
    heartbeatIntervalSeconds: Number(values.heartbeat),
    connect: {ca: readFileSync(values['ca-file'], 'utf8')},
    diagEnabled: true,
});
console.log(`agent ${Buffer.from(client.getInstanceUid()).toString('hex')}`);

let connected = false;
subscribe(DIAG_CH_SEND_SUCCESS, () => {
    if (!connected) console.log('connected');
    connected = true;
});
subscribe(DIAG_CH_SEND_FAIL, ({err}) => {
    connected = false;
    console.log('no connection:', String(err));
});
client.setAgentDescription({
    identifyingAttributes: {'service.name': 'opamp-client-node'},
});
client.start();

// The client's own timers do not keep a process alive.
setInterval(() => {}, 1 << 30);
