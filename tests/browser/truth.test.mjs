// What the page says of each client is what the server says: its id, its address, and when it interacted last.

import assert from "node:assert/strict";
import { PATIENCE, eventually, look, pause } from "./browser.mjs";
import { Client, clientList } from "./redis.mjs";
import { rows } from "./table.mjs";

// Times are whole seconds here and there, and asking takes a moment.
const ROUNDING = 2;

/** The server's own time, in seconds. */
async function now(control) {
  return Number((await control.ask("TIME"))[0]);
}

/** What a row says of a client that is not so at this time. */
function lies(row, client, at) {
  if (row === undefined) return [`${client.id} is missing`];
  const [last, truth] = [Date.parse(row["Last interaction at"]) / 1000, at - Number(client.idle)];
  const silent = client.cmd === "NULL";
  // Who asks, who samples and who is fed by everybody interact all the time.
  const busy = ["control", "redis-client-exporter"].includes(client.name) || client.flags.includes("O");
  const said = JSON.stringify([row, client, at]);
  return [
    row.Address === client.addr || `another address: ${said}`,
    (row["Last interaction"] === "never") === silent || `spoke never: ${said}`,
    busy || silent || Math.abs(last - truth) <= ROUNDING || `interacted at another time: ${said}`,
  ].filter((fault) => fault !== true);
}

/** All that the page says and the server does not, and the other way round. */
async function differences(page, control) {
  const [listed, at] = await Promise.all([clientList(control), now(control)]);
  const shown = await rows(page);
  assert(listed.length > 15, "a crowd is there");
  const strangers = shown.filter((row) => !listed.some((client) => client.id === row["Client ID"]));
  const twice = shown.length !== new Set(shown.map((row) => row["Client ID"])).size;
  return [
    ...strangers.map((row) => `${row["Client ID"]} is nobody`),
    ...(twice ? ["somebody is there twice"] : []),
    ...listed.flatMap((client) => lies(shown.find((row) => row["Client ID"] === client.id), client, at)),
  ];
}

look("every client is there once, with its address and its last interaction", {}, async (reader) => {
  const control = await Client.connect("control");
  await Client.connect("early");
  await pause(3000);
  await Client.connect("late");
  const page = await reader.open("/clients?limit=1000&sort=id");
  let found;
  // The page may be a sample behind.
  const agree = async () => (found = await differences(page, control)).length === 0;
  await eventually("the page agrees with the server", PATIENCE, agree).catch(() => assert.deepEqual(found, []));
});

look("who speaks again interacted just now", {}, async (reader) => {
  const [client, control] = [await Client.connect("speaker"), await Client.connect("control")];
  const id = await client.id();
  const page = await reader.open(`/clients?q=${id}&limit=1000`);
  const last = async () => (await rows(page)).find((row) => row["Client ID"] === id)?.["Last interaction at"];
  const before = Date.parse(await eventually("he is there", PATIENCE, last));
  await pause(3000);
  assert(Date.parse(await last()) - before <= 1000, "silence moves nothing");
  await client.ask("PING");
  const spoke = await now(control);
  await eventually("the page knows it", PATIENCE, async () => {
    return Math.abs(Date.parse(await last()) / 1000 - spoke) <= ROUNDING && Date.parse(await last()) - before >= 2000;
  });
});

look("one client's own page has every field that the server tells", {}, async (reader) => {
  const [client, control] = [await Client.connect("alone"), await Client.connect("control")];
  const id = await client.id();
  const list = await reader.open(`/clients?q=alone`);
  await list.getByRole("link", { name: id, exact: true }).click();
  await list.waitForURL(/\/clients\/\d+/);
  const shown = new Map((await rows(list, "Field")).map((row) => [row.Field, row.Value]));
  const told = (await clientList(control)).find((found) => found.id === id);
  assert.deepEqual([...shown.keys()].sort(), Object.keys(told).sort());
  for (const field of ["id", "addr", "laddr", "name", "user", "db", "cmd"]) assert.equal(shown.get(field), told[field]);
});
