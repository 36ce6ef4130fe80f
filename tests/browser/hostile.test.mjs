// What clients call themselves, and what links ask for, is text everywhere: nothing runs, nothing is drawn of it, and no policy has to
// step in. That pages neither complain nor violate their policy is seen at every visit (browser.mjs).

import assert from "node:assert/strict";
import { eventually, look, PATIENCE } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column, rows } from "./table.mjs";

const NAMES = ["<img/src=x/onerror=alert(1)>", "=cmd|calc", '"><script>'];

// Things that nobody is called but that a link may say.
const WORSE = [
  ...NAMES,
  "'-alert(1)-'",
  "javascript:alert(1)",
  "</title><script>alert(1)</script>",
  "{{7*7}}",
  "%00%0a%0dx:y",
  "\u202e\ud83d\ude00",
];

/** That the page holds nothing but what our templates write. */
async function isClean(page, where) {
  const odd = await page.evaluate(() => {
    const own = "html, head, meta, title, link, script[src^='/assets/'][type='module'], body, body *";
    const drawn = "img, svg, iframe, object, embed, video, audio, base, math, body script, body style, body link, body meta";
    const runs = ({ name, value }) => /^on/i.test(name) || (/^(href|src|(form)?action)$/.test(name) && /^\s*javascript:/i.test(value));
    const handlers = [...document.querySelectorAll("*")].filter((element) => [...element.attributes].some(runs));
    const strangers = [...document.querySelectorAll("*")].filter((element) => !element.matches(own));
    return [...document.querySelectorAll(drawn), ...handlers, ...strangers].map((element) => element.outerHTML.slice(0, 200));
  });
  assert.deepEqual(odd, [], where);
}

/** Clients of hostile names, users and libraries. */
async function villains() {
  const found = [];
  for (const name of NAMES) {
    const client = await Client.connect(name);
    await client.ask("ACL", "SETUSER", name, "on", "nopass", "~*", "&*", "+@all");
    await client.ask("AUTH", name, "any");
    // Servers before 7.2 know no libraries.
    await client.ask("CLIENT", "SETINFO", "lib-name", name).catch(() => {});
    found.push(client);
  }
  return found;
}

const names = (page) => column(page, "Name");

/** Waits until the exporter has seen all of them. */
async function seen(reader) {
  const page = await reader.open("/clients?limit=1000");
  for (const name of NAMES) await eventually(`${name} is read`, PATIENCE, async () => (await names(page)).includes(name));
  await isClean(page, "/clients");
  await page.close();
}

look("hostile names are text on every page", {}, async (reader) => {
  const clients = await villains();
  await seen(reader);
  for (const [at, name] of NAMES.entries()) {
    const given = encodeURIComponent(name);
    for (const where of [`/clients?q=${given}`, `/clients?user=${given}`]) {
      await reader.glance(where, async (page) => {
        assert.deepEqual([...new Set(await names(page))], [name], where);
        await isClean(page, where);
      });
    }
    await reader.glance(`/clients/${await clients[at].id()}`, async (page) => {
      assert.equal((await rows(page, "Field")).find((row) => row.Field === "name").Value, name);
      await isClean(page, "one client");
    });
  }
  for (const where of ["/", "/apps"]) {
    await reader.glance(where, async (page) => {
      const text = await page.locator("main").innerText();
      for (const name of NAMES) assert(text.includes(name), `${name} is on ${where}`);
      await isClean(page, where);
    });
  }
  const closed = await reader.open("/closed");
  clients.forEach((client) => client.leave());
  for (const name of NAMES) await eventually(`${name} is gone`, PATIENCE, async () => (await names(closed)).includes(name));
  await isClean(closed, "/closed");
});

look("a link from an application or a user leads to its clients, whatever it is called", {}, async (reader) => {
  await villains();
  await seen(reader);
  for (const name of NAMES) {
    for (const [where, place] of [["/apps", { name: /^Application/ }], ["/", { name: "Application" }], ["/", { name: "User" }]]) {
      await reader.glance(where, async (page) => {
        const table = page.getByRole("table").or(page.getByRole("region")).and(page.getByLabel(place.name));
        await table.first().getByRole("link", { name, exact: true }).click();
        await page.waitForURL(/\/clients\?/);
        assert((await names(page)).includes(name), `${name} from ${where}`);
        await isClean(page, page.url());
      });
    }
  }
});

look("hostile words in a link, and in the search, are text", {}, async (reader) => {
  const page = await reader.open("/clients");
  for (const words of WORSE) {
    const given = encodeURIComponent(words);
    for (const where of [`/clients?q=${given}`, `/clients?app=${given}`, `/clients?${given}=1`]) {
      await reader.glance(where, (page) => isClean(page, where));
    }
    for (const [where, status] of [[`/clients?sort=${given}`, 400], [`/clients?redis=${given}`, 404], [`/clients/${given}`, 400]]) {
      await reader.glance(where, (refused) => isClean(refused, where), status);
    }
    await page.getByLabel("Search").fill(words);
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.searchParams.get("q") === words);
    assert.equal(await page.getByLabel("Search").inputValue(), words);
    await isClean(page, words);
  }
});
