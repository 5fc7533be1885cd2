const http = require("node:http");
const ms = require("ms");

const server = http.createServer((request, response) => {
  response.end(`A day has ${ms("1 day")} milliseconds`);
});
server.listen(80, "0.0.0.0", () => console.log("serving"));
