import { render } from "preact";
import { begin, listen } from "./begin";
import { onChange } from "./state";
import { App } from "./views/app";

const root = document.getElementById("app")!;
root.replaceChildren();
const draw = () => render(<App />, root);
onChange(draw);
listen();
draw();
begin();
