// One call of the OpenAI SDK for Node with ws: `node call.mjs RELAY WAY`, the key in KEY.
// It says what it sees, one JSON object a line: first, spoken, reconnecting, closed, error.
import { AzureOpenAI, OpenAI } from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { utterance } from "./speech.mjs";

const [https, way] = process.argv.slice(2);
const key = process.env.KEY;
const say = (saying) => console.log(JSON.stringify(saying));

const ways = {
  once: () => openai(),
  stay: () => openai(),
  reconnect: () => openai({ reconnect: true }),
  azure,
};

function openai(more) {
  const client = new OpenAI({ baseURL: `${https}/v1`, apiKey: key });
  return new OpenAIRealtimeWS({ model: "gpt-realtime", ...more }, client);
}

async function azure() {
  const client = new AzureOpenAI({ baseURL: `${https}/openai`, apiKey: key, apiVersion: "v1" });
  return await OpenAIRealtimeWS.azure(client, { deploymentName: "gpt-realtime" });
}

const call = await ways[way]();
const turns = way === "reconnect" ? ["first", "spoken"] : ["spoken"];
call.on("error", (error) => say({ error: error.message }));
call.on("reconnecting", (event) => say({ reconnecting: event.closeCode }));
call.on("session.created", () => utterance.forEach((event) => call.send(event)));
call.on("response.done", (event) => {
  say({ [turns.shift()]: event.response.usage });
  if (way !== "stay" && turns.length === 0) call.close();
});
call.socket.on("close", (code, reason) => say({ closed: [code, String(reason)] }));
