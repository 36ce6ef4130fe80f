// Reads tables of a page. Cells are found by the heads of their columns.

/**
 * Returns the rows of the table that has this column, each a map from heads to texts. Times are under `HEAD at`. A
 * search changes the URL before its form loads the next page, so the rows of a page that is being left are requested
 * again.
 */
export async function rows(page, known = "Client ID") {
  for (;;) {
    try {
      return await rowsNow(page, known);
    } catch (error) {
      if (!/context was destroyed/.test(error.message)) throw error;
      await page.waitForLoadState();
    }
  }
}

function rowsNow(page, known) {
  return page.evaluate((known) => {
    const headsOf = (table) => [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    const table = [...document.querySelectorAll("main table")].find((table) => headsOf(table).includes(known));
    const heads = headsOf(table);
    return [...table.querySelectorAll("tbody tr")].map((row) => {
      const cells = [...row.children].flatMap((cell, column) => {
        const time = cell.querySelector("time")?.dateTime;
        const text = [heads[column], cell.textContent.trim()];
        return time ? [text, [`${heads[column]} at`, time]] : [text];
      });
      return Object.fromEntries(cells);
    });
  }, known);
}

/** Returns the texts of one column, from the first row to the last. */
export async function column(page, head) {
  return (await rows(page)).map((row) => row[head]);
}
