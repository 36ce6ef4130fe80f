// The page matches the server: the id, the address and the last interaction of each client.

import assert from "node:assert/strict";
import { eventually, look, pause } from "./browser.mjs";
import { Client, clientList } from "./redis.mjs";
import { rows } from "./table.mjs";

// Times are in whole seconds on both sides, and the request takes some time.
const ROUNDING = 2;

/** Returns the server's time, in seconds. */
async function now(control) {
  return Number((await control.ask("TIME"))[0]);
}

/** Returns the differences between a row and its client at this time. */
function faults(row, client, at) {
  if (row === undefined) return [`${client.id} is missing`];
  const [last, truth] = [Date.parse(row["Last interaction at"]) / 1000, at - Number(client.idle)];
  const silent = client.cmd === "NULL";
  // The test's own connection, the exporter and the monitor interact all the time.
  const busy = ["control", "redis-client-exporter"].includes(client.name) || client.flags.includes("O");
  const said = JSON.stringify([row, client, at]);
  return [
    row.Address === client.addr || `another address: ${said}`,
    (row["Last interaction"] === "never") === silent || `wrong about whether it sent a command: ${said}`,
    busy || silent || Math.abs(last - truth) <= ROUNDING || `another last interaction: ${said}`,
  ].filter((fault) => fault !== true);
}

/** Returns all differences between the page and the server. */
async function differences(page, control) {
  const [listed, at] = await Promise.all([clientList(control), now(control)]);
  const shown = await rows(page);
  assert(listed.length > 15, "the clients are connected");
  const extra = shown.filter((row) => !listed.some((client) => client.id === row["Client ID"]));
  const twice = shown.length !== new Set(shown.map((row) => row["Client ID"])).size;
  return [
    ...extra.map((row) => `${row["Client ID"]} is not connected`),
    ...(twice ? ["a client is listed twice"] : []),
    ...listed.flatMap((client) => faults(shown.find((row) => row["Client ID"] === client.id), client, at)),
  ];
}

look("every client is listed once, with its address and its last interaction", {}, async (reader) => {
  const control = await Client.connect("control");
  await Client.connect("early");
  await pause(3000);
  await Client.connect("late");
  const page = await reader.open("/clients?limit=1000&sort=id");
  let found;
  // The page may show an earlier sample.
  const agree = async () => (found = await differences(page, control)).length === 0;
  await eventually("the page agrees with the server", agree).catch(() => assert.deepEqual(found, []));
});

look("a client that sends a command interacted just now", {}, async (reader) => {
  const [client, control] = [await Client.connect("speaker"), await Client.connect("control")];
  const id = await client.id();
  const page = await reader.open(`/clients?q=${id}&limit=1000`);
  const last = async () => (await rows(page)).find((row) => row["Client ID"] === id)?.["Last interaction at"];
  const before = Date.parse(await eventually("it is listed", last));
  await pause(3000);
  assert(Date.parse(await last()) - before <= 1000, "without a command it does not change");
  await client.ask("PING");
  const sent = await now(control);
  await eventually("the page is updated", async () => {
    return Math.abs(Date.parse(await last()) / 1000 - sent) <= ROUNDING && Date.parse(await last()) - before >= 2000;
  });
});

look("the page of a client has every field that the server reports", {}, async (reader) => {
  const [client, control] = [await Client.connect("alone"), await Client.connect("control")];
  const id = await client.id();
  const list = await reader.open(`/clients?q=alone`);
  await list.getByRole("link", { name: id, exact: true }).click();
  await list.waitForURL(/\/clients\/\d+/);
  const shown = new Map((await rows(list, "Field")).map((row) => [row.Field, row.Value]));
  const listed = (await clientList(control)).find((found) => found.id === id);
  assert.deepEqual([...shown.keys()].sort(), Object.keys(listed).sort());
  for (const field of ["id", "addr", "laddr", "name", "user", "db", "cmd"]) {
    assert.equal(shown.get(field), listed[field]);
  }
});
