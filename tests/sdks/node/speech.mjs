// 100 ms each, as events: speech, and silence enough for every client's turn detection.
const base64 = (samples) => btoa(String.fromCharCode(...new Uint8Array(samples.buffer)));
const speech = base64(Int16Array.from({ length: 2400 }, (_, at) => (at % 48 < 24 ? 8000 : -8000)));
const silence = base64(new Int16Array(2400));

export const utterance = [...Array(5).fill(speech), ...Array(10).fill(silence)].map((audio) => ({
  type: "input_audio_buffer.append",
  audio,
}));
