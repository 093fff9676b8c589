// A field whose text is sent, and a button that sends it or stops what goes on.
import type { ComponentChildren, JSX, Ref } from "preact";
import { change } from "../state";

interface Props {
  field: JSX.TextareaHTMLAttributes<HTMLTextAreaElement>;
  fieldRef?: Ref<HTMLTextAreaElement>;
  value: string;
  set: (text: string) => void;
  verb: string;
  send: () => void;
  busy: boolean;
  stop: () => void;
  above?: ComponentChildren;
  children?: ComponentChildren;
}

export function Composer(props: Props) {
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        props.send();
      }}
    >
      {props.above}
      <div class="row">
        <textarea
          {...props.field}
          ref={props.fieldRef}
          value={props.value}
          onInput={(event) => {
            props.set(event.currentTarget.value);
            change();
          }}
        />
        {props.busy ? (
          <button type="button" class="stop" onClick={props.stop}>
            Stop
          </button>
        ) : (
          <button type="submit" class="main" disabled={!props.value.trim()}>
            {props.verb}
          </button>
        )}
      </div>
      {props.children}
    </form>
  );
}
