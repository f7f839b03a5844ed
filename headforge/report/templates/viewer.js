// A Gaussian splatting viewer: orbit with the pointer, animate with sliders. WebGL 2, no dependencies.
// Axes as everywhere in headforge: world y up, face towards +z; camera x right, y down, z forward.
(() => {
  "use strict";
  const FORMAT = 1;
  const JOINTS = 5;
  const TEXELS = 3; // RGBA32F texels of pose per Gaussian: mean and covariance
  const PER_ROW = 512; // Gaussians per row of a texture
  const SORT_BUCKETS = 65536;

  const VERTEX = `#version 300 es
    precision highp float;
    precision highp sampler2D;
    uniform sampler2D pose;
    uniform sampler2D paint;
    uniform mat3 rotation;
    uniform vec3 translation;
    uniform vec2 viewport;
    uniform float focal;
    uniform float blur;
    layout(location = 0) in vec2 corner;
    layout(location = 1) in uint splat;
    out vec4 colour;
    out vec2 offset;
    void main() {
      ivec2 at = ivec2(int(splat) % ${PER_ROW}, int(splat) / ${PER_ROW});
      vec4 a = texelFetch(pose, ivec2(at.x * ${TEXELS}, at.y), 0);
      vec4 b = texelFetch(pose, ivec2(at.x * ${TEXELS} + 1, at.y), 0);
      vec4 c = texelFetch(pose, ivec2(at.x * ${TEXELS} + 2, at.y), 0);
      colour = texelFetch(paint, at, 0);
      vec3 p = rotation * a.xyz + translation;
      gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
      if (p.z < 0.02 || colour.a < 1.0 / 255.0) return;
      mat3 world = mat3(a.w, b.x, b.y, b.x, b.z, b.w, b.y, b.w, c.x);
      mat3 local = rotation * world * transpose(rotation);
      vec3 jx = vec3(focal / p.z, 0.0, -focal * p.x / (p.z * p.z));
      vec3 jy = vec3(0.0, focal / p.z, -focal * p.y / (p.z * p.z));
      float spread = blur * focal / p.z;
      float extra = spread * spread + 0.05;
      float xx = dot(jx, local * jx) + extra;
      float xy = dot(jx, local * jy);
      float yy = dot(jy, local * jy) + extra;
      float middle = 0.5 * (xx + yy);
      float radius = length(vec2(0.5 * (xx - yy), xy));
      vec2 axis = abs(xy) > 1e-8 ? normalize(vec2(xy, middle + radius - xx)) : (xx >= yy ? vec2(1, 0) : vec2(0, 1));
      vec2 sigma = sqrt(vec2(middle + radius, max(middle - radius, 0.01)));
      float reach = sqrt(2.0 * log(255.0 * colour.a));
      offset = corner * reach;
      vec2 moved = offset.x * sigma.x * axis + offset.y * sigma.y * vec2(-axis.y, axis.x);
      vec2 pixel = focal * p.xy / p.z + moved;
      gl_Position = vec4(pixel.x / (0.5 * viewport.x), -pixel.y / (0.5 * viewport.y), 0.0, 1.0);
    }`;

  const FRAGMENT = `#version 300 es
    precision highp float;
    in vec4 colour;
    in vec2 offset;
    out vec4 result;
    void main() {
      float alpha = min(0.99, colour.a * exp(-0.5 * dot(offset, offset)));
      if (alpha < 1.0 / 255.0) discard;
      result = vec4(colour.rgb * alpha, alpha);
    }`;

  async function unpack(meta, base64) {
    const packed = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const raw = await new Response(stream).arrayBuffer();
    const n = meta.n;
    if (meta.format !== FORMAT || raw.byteLength !== n * (21 + 3 * meta.controls.length)) {
      throw new Error("the avatar's data is not in this viewer's format");
    }
    let at = 0;
    const take = (Kind, channels) => {
      const planes = [];
      for (let i = 0; i < channels; i++, at += n * Kind.BYTES_PER_ELEMENT) planes.push(new Kind(raw, at, n));
      return planes;
    };
    const avatar = { meta, n };
    const position = take(Uint16Array, 3);
    const logScale = take(Uint8Array, 3);
    const quat = take(Int8Array, 4);
    const colour = take(Uint8Array, 3);
    const opacity = take(Uint8Array, 1)[0];
    avatar.weights = take(Uint8Array, JOINTS - 1);
    avatar.offsets = meta.controls.map(() => take(Int8Array, 3));
    avatar.rest = new Float32Array(3 * n);
    avatar.covariance = new Float32Array(6 * n);
    avatar.paint = new Uint8Array(4 * n);
    const { low, high } = meta.log_scale;
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < 3; k++) {
        avatar.rest[3 * i + k] = meta.position.low[k] + (position[k][i] / 65535) * meta.position.size[k];
        avatar.paint[4 * i + k] = colour[k][i];
      }
      avatar.paint[4 * i + 3] = opacity[i];
      const s = [0, 1, 2].map((k) => Math.exp(2 * (low + (logScale[k][i] / 255) * (high - low))));
      restCovariance(avatar.covariance, 6 * i, quat[0][i], quat[1][i], quat[2][i], quat[3][i], s);
    }
    return avatar;
  }

  // Writes R diag(s) R^T, of a quaternion of any length and variances s, as xx xy xz yy yz zz.
  function restCovariance(out, at, w, x, y, z, s) {
    const k = 2 / Math.max(w * w + x * x + y * y + z * z, 1e-9);
    const r = [
      1 - k * (y * y + z * z), k * (x * y - w * z), k * (x * z + w * y),
      k * (x * y + w * z), 1 - k * (x * x + z * z), k * (y * z - w * x),
      k * (x * z - w * y), k * (y * z + w * x), 1 - k * (x * x + y * y),
    ];
    let slot = at;
    for (let i = 0; i < 3; i++) {
      for (let j = i; j < 3; j++) {
        out[slot++] = s[0] * r[3 * i] * r[3 * j] + s[1] * r[3 * i + 1] * r[3 * j + 1] + s[2] * r[3 * i + 2] * r[3 * j + 2];
      }
    }
  }

  function rotationOf(v) {
    const angle = Math.hypot(v[0], v[1], v[2]);
    if (angle < 1e-9) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
    const [x, y, z] = v.map((c) => c / angle);
    const c = Math.cos(angle), s = Math.sin(angle), t = 1 - c;
    return [
      t * x * x + c, t * x * y - s * z, t * x * z + s * y,
      t * x * y + s * z, t * y * y + c, t * y * z - s * x,
      t * x * z - s * y, t * y * z + s * x, t * z * z + c,
    ];
  }

  const multiply = (a, b) => {
    const out = new Array(9);
    for (let r = 0; r < 3; r++) {
      for (let c = 0; c < 3; c++) out[3 * r + c] = a[3 * r] * b[c] + a[3 * r + 1] * b[3 + c] + a[3 * r + 2] * b[6 + c];
    }
    return out;
  };
  const apply = (m, v) => [0, 3, 6].map((r) => m[r] * v[0] + m[r + 1] * v[1] + m[r + 2] * v[2]);

  // Rest-to-posed transforms of the joints, each 12 numbers, row-major 3x4.
  function jointTransforms(meta, values) {
    const turned = [], placed = [], result = [];
    for (let j = 0; j < JOINTS; j++) {
      const angles = [0, 0, 0];
      meta.controls.forEach((c, i) => c.rotations[j].forEach((a, k) => (angles[k] += a * values[i])));
      const own = rotationOf(angles), parent = meta.parents[j];
      if (parent < 0) {
        turned.push(own);
        placed.push(meta.joints[j]);
      } else {
        const arm = apply(turned[parent], meta.joints[j].map((v, k) => v - meta.joints[parent][k]));
        turned.push(multiply(turned[parent], own));
        placed.push(arm.map((v, k) => v + placed[parent][k]));
      }
      const back = apply(turned[j], meta.joints[j]);
      const t = placed[j].map((v, k) => v - back[k]), r = turned[j];
      result.push([r[0], r[1], r[2], t[0], r[3], r[4], r[5], t[1], r[6], r[7], r[8], t[2]]);
    }
    return result;
  }

  // Fills `out` (12 floats a Gaussian: mean, covariance, padding) for the sliders' values.
  function poseAvatar(avatar, values, out) {
    const { n, rest, covariance, weights, offsets, meta } = avatar;
    const joints = jointTransforms(meta, values);
    const active = meta.controls.map((c, i) => [offsets[i], values[i] * c.offset_step]).filter((a) => a[1] !== 0);
    const m = new Float64Array(12);
    for (let i = 0; i < n; i++) {
      let x = rest[3 * i], y = rest[3 * i + 1], z = rest[3 * i + 2];
      for (const [planes, step] of active) {
        x += planes[0][i] * step;
        y += planes[1][i] * step;
        z += planes[2][i] * step;
      }
      let root = 255;
      for (let j = 1; j < JOINTS; j++) root -= weights[j - 1][i];
      for (let k = 0; k < 12; k++) m[k] = (root / 255) * joints[0][k];
      for (let j = 1; j < JOINTS; j++) {
        const w = weights[j - 1][i] / 255;
        if (w) for (let k = 0; k < 12; k++) m[k] += w * joints[j][k];
      }
      const o = 12 * i;
      out[o] = m[0] * x + m[1] * y + m[2] * z + m[3];
      out[o + 1] = m[4] * x + m[5] * y + m[6] * z + m[7];
      out[o + 2] = m[8] * x + m[9] * y + m[10] * z + m[11];
      const q = 6 * i;
      const xx = covariance[q], xy = covariance[q + 1], xz = covariance[q + 2];
      const yy = covariance[q + 3], yz = covariance[q + 4], zz = covariance[q + 5];
      let slot = o + 3;
      for (let r = 0; r < 12; r += 4) {
        const a = m[r] * xx + m[r + 1] * xy + m[r + 2] * xz;
        const b = m[r] * xy + m[r + 1] * yy + m[r + 2] * yz;
        const c = m[r] * xz + m[r + 1] * yz + m[r + 2] * zz;
        for (let s = r; s < 12; s += 4) out[slot++] = a * m[s] + b * m[s + 1] + c * m[s + 2];
      }
    }
  }

  // Ids of the Gaussians from far to near along `axis` (a row of the camera's rotation): counting sort on the depth.
  function sortByDepth(posed, n, axis, order, scratch) {
    const { depths, keys, counts } = scratch;
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < n; i++) {
      const d = axis[0] * posed[12 * i] + axis[1] * posed[12 * i + 1] + axis[2] * posed[12 * i + 2];
      depths[i] = d;
      if (d < low) low = d;
      if (d > high) high = d;
    }
    const scale = (SORT_BUCKETS - 1) / Math.max(high - low, 1e-9);
    counts.fill(0);
    for (let i = 0; i < n; i++) counts[(keys[i] = ((high - depths[i]) * scale) | 0)]++;
    for (let k = 0, start = 0; k < SORT_BUCKETS; k++) {
      const count = counts[k];
      counts[k] = start;
      start += count;
    }
    for (let i = 0; i < n; i++) order[counts[keys[i]]++] = i;
  }

  class Renderer {
    constructor(canvas) {
      this.canvas = canvas;
      const options = { alpha: true, premultipliedAlpha: true, antialias: false, depth: false };
      const gl = canvas.getContext("webgl2", options);
      if (!gl) throw new Error("no WebGL 2");
      this.gl = gl;
      this.program = this.link(VERTEX, FRAGMENT);
      this.uniforms = {};
      for (const name of ["pose", "paint", "rotation", "translation", "viewport", "focal", "blur"]) {
        this.uniforms[name] = gl.getUniformLocation(this.program, name);
      }
      this.array = gl.createVertexArray();
      gl.bindVertexArray(this.array);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(0);
      gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
      this.orderBuffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.orderBuffer);
      gl.enableVertexAttribArray(1);
      gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 0, 0);
      gl.vertexAttribDivisor(1, 1);
      this.poseTexture = this.texture();
      this.paintTexture = this.texture();
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    }

    link(vertex, fragment) {
      const gl = this.gl, program = gl.createProgram();
      for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) || "link");
      return program;
    }

    texture() {
      const gl = this.gl, texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
      return texture;
    }

    load(avatar) {
      const gl = this.gl, n = avatar.n;
      this.avatar = avatar;
      this.rows = Math.ceil(n / PER_ROW);
      this.posed = new Float32Array(this.rows * PER_ROW * 4 * TEXELS);
      this.order = new Uint32Array(n);
      this.scratch = { depths: new Float32Array(n), keys: new Uint16Array(n), counts: new Uint32Array(SORT_BUCKETS) };
      const paint = new Uint8Array(this.rows * PER_ROW * 4);
      paint.set(avatar.paint);
      gl.bindTexture(gl.TEXTURE_2D, this.paintTexture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, PER_ROW, this.rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, paint);
    }

    setPose(values) {
      const gl = this.gl;
      poseAvatar(this.avatar, values, this.posed);
      gl.bindTexture(gl.TEXTURE_2D, this.poseTexture);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, PER_ROW * TEXELS, this.rows, 0, gl.RGBA, gl.FLOAT, this.posed);
    }

    draw(view) {
      const gl = this.gl, { canvas, avatar, uniforms } = this;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
      const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      const { target, fov_deg, blur_m } = avatar.meta.view;
      const sy = Math.sin(view.yaw), cy = Math.cos(view.yaw), sp = Math.sin(view.pitch), cp = Math.cos(view.pitch);
      // Rows: right, down, forward of a camera in the direction (yaw, pitch) that looks at the target.
      const right = [cy, 0, -sy], down = [sy * sp, -cp, cy * sp], forward = [-sy * cp, -sp, -cy * cp];
      const centre = target.map((t, k) => t - view.distance * forward[k]);
      const rows = [right, down, forward];
      const translation = rows.map((r) => -(r[0] * centre[0] + r[1] * centre[1] + r[2] * centre[2]));
      sortByDepth(this.posed, avatar.n, forward, this.order, this.scratch);
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.useProgram(this.program);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, this.poseTexture);
      gl.activeTexture(gl.TEXTURE1);
      gl.bindTexture(gl.TEXTURE_2D, this.paintTexture);
      gl.activeTexture(gl.TEXTURE0);
      gl.uniform1i(uniforms.pose, 0);
      gl.uniform1i(uniforms.paint, 1);
      const columns = [0, 1, 2].flatMap((c) => rows.map((r) => r[c]));
      gl.uniformMatrix3fv(uniforms.rotation, false, columns);
      gl.uniform3fv(uniforms.translation, translation);
      gl.uniform2f(uniforms.viewport, width, height);
      gl.uniform1f(uniforms.focal, (0.5 * Math.min(width, height)) / Math.tan((fov_deg * Math.PI) / 360));
      gl.uniform1f(uniforms.blur, blur_m);
      gl.bindVertexArray(this.array);
      gl.bindBuffer(gl.ARRAY_BUFFER, this.orderBuffer);
      gl.bufferData(gl.ARRAY_BUFFER, this.order, gl.DYNAMIC_DRAW);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, avatar.n);
    }
  }

  class Viewer {
    constructor(root) {
      this.root = root;
      this.canvas = root.querySelector("canvas");
      this.sliders = root.querySelector(".sliders");
      this.playButton = root.querySelector("[data-act=play]");
      this.renderer = new Renderer(this.canvas);
      this.view = { yaw: 0, pitch: 0, distance: 1 };
      this.visible = false;
      this.clock = 0;
      this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.listen();
    }

    async show(index) {
      const meta = JSON.parse(this.root.querySelectorAll("script[data-meta]")[index].textContent);
      const avatar = await unpack(meta, this.root.querySelectorAll("script[data-payload]")[index].textContent);
      this.renderer.load(avatar);
      this.controls = meta.controls;
      this.values = meta.controls.map((c) => c.initial);
      this.view = { yaw: 0.35, pitch: 0.06, distance: meta.view.distance_m };
      this.makeSliders();
      this.root.querySelectorAll("[data-show]").forEach((b, i) => b.setAttribute("aria-pressed", String(i === index)));
      this.posedValues = null;
      this.request();
      this.root.dataset.state = "ready";
    }

    makeSliders() {
      this.sliders.replaceChildren();
      this.inputs = this.controls.map((control, i) => {
        const label = document.createElement("label");
        const name = document.createElement("span");
        name.textContent = control.label;
        const input = document.createElement("input");
        Object.assign(input, { type: "range", min: control.min, max: 1, step: 0.01, value: control.initial });
        input.addEventListener("input", () => {
          this.stop();
          this.values[i] = Number(input.value);
          this.request();
        });
        label.append(name, input);
        this.sliders.append(label);
        return input;
      });
    }

    listen() {
      const canvas = this.canvas;
      canvas.addEventListener("pointerdown", (e) => {
        this.stop();
        canvas.setPointerCapture(e.pointerId);
        this.dragFrom = [e.clientX, e.clientY];
      });
      canvas.addEventListener("pointermove", (e) => {
        if (!this.dragFrom) return;
        this.turn((this.dragFrom[0] - e.clientX) * 0.008, (e.clientY - this.dragFrom[1]) * 0.008);
        this.dragFrom = [e.clientX, e.clientY];
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.dragFrom = null));
      // The wheel scrolls the page until the picture has been clicked.
      canvas.addEventListener("wheel", (e) => {
        if (document.activeElement !== canvas && !e.ctrlKey) return;
        e.preventDefault();
        this.zoom(Math.exp(e.deltaY * 0.001));
      }, { passive: false });
      const keys = {
        ArrowLeft: () => this.turn(-0.1, 0), ArrowRight: () => this.turn(0.1, 0),
        ArrowUp: () => this.turn(0, 0.1), ArrowDown: () => this.turn(0, -0.1),
        "+": () => this.zoom(0.9), "=": () => this.zoom(0.9), "-": () => this.zoom(1.1),
      };
      canvas.addEventListener("keydown", (e) => {
        if (!keys[e.key]) return;
        e.preventDefault();
        this.stop();
        keys[e.key]();
      });
      this.root.querySelectorAll("[data-show]").forEach((b, i) => b.addEventListener("click", () => this.show(i)));
      this.playButton.addEventListener("click", () => (this.playing ? this.stop() : this.play()));
      this.root.querySelector("[data-act=reset]").addEventListener("click", () => {
        this.stop();
        this.values = this.controls.map((c) => c.initial);
        this.inputs.forEach((input, i) => (input.value = this.values[i]));
        this.view = { yaw: 0, pitch: 0, distance: this.renderer.avatar.meta.view.distance_m };
        this.request();
      });
      new ResizeObserver(() => this.request()).observe(canvas);
      new IntersectionObserver((entries) => {
        this.visible = entries[entries.length - 1].isIntersecting;
        this.request();
      }).observe(canvas);
      this.updateButton();
    }

    turn(yaw, pitch) {
      this.view.yaw += yaw;
      this.view.pitch = Math.min(1.2, Math.max(-1.2, this.view.pitch + pitch));
      this.request();
    }

    zoom(factor) {
      const start = this.renderer.avatar.meta.view.distance_m;
      this.view.distance = Math.min(2.5 * start, Math.max(0.35 * start, this.view.distance * factor));
      this.request();
    }

    play() {
      this.playing = true;
      this.updateButton();
      this.request();
    }

    stop() {
      this.playing = false;
      this.updateButton();
    }

    updateButton() {
      this.playButton.textContent = this.playing ? "Pause" : "Play";
    }

    // The show: a slow sway of the camera while one control after the other rises and falls.
    perform(seconds) {
      this.view.yaw = 0.55 * Math.sin(seconds * 0.55);
      this.view.pitch = 0.06 + 0.08 * Math.sin(seconds * 0.37);
      const cast = this.controls.map((c, i) => i).filter((i) => this.controls[i].in_show);
      const beat = 1.8, part = Math.floor(seconds / beat) % Math.max(cast.length, 1), phase = (seconds / beat) % 1;
      cast.forEach((control, position) => {
        const signed = this.controls[control].min < 0;
        const rise = signed ? Math.sin(2 * Math.PI * phase) : Math.sin(Math.PI * phase) ** 2;
        this.values[control] = position === part ? rise : 0;
        this.inputs[control].value = this.values[control];
      });
    }

    request() {
      if (this.pending || !this.renderer.avatar) return;
      this.pending = true;
      requestAnimationFrame((now) => {
        this.pending = false;
        const elapsed = Math.min(100, now - (this.lastTime || now));
        this.lastTime = now;
        if (this.playing && this.visible) {
          this.clock += elapsed / 1000;
          this.perform(this.clock);
        }
        const key = this.values.join();
        if (key !== this.posedValues) this.renderer.setPose(this.values);
        this.posedValues = key;
        this.renderer.draw(this.view);
        if (this.playing && this.visible) this.request();
      });
    }
  }

  function start(root) {
    const fail = (error) => {
      root.dataset.state = "fallback";
      root.querySelector(".why").textContent = `The interactive view is not available here (${error.message}).`;
    };
    try {
      new Viewer(root).show(0).catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  document.querySelectorAll(".viewer").forEach(start);
})();
