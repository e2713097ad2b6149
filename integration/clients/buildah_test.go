package clients

import "testing"

// buildah runs an image's RUN lines with the runtime: as any program of an image.
func TestBuildah(t *testing.T) {
	need(t, "buildah")
	podman(t) // the images, and the configuration, are shared
	c := client{t: t, argv: []string{"buildah"}}
	flags := []string{"--runtime", runw, "--network", "none", "--cgroup-parent", "/" + cgroupPrefix}

	dir := t.TempDir()
	write(t, dir+"/Containerfile", "FROM "+nativeImage+"\nRUN id >/built && echo done in the build\nRUN [\"/probe\", \"write\", \"/second\", \"line\"]\n", 0o644)
	c.run(append(append([]string{"build", "--isolation", "oci"}, flags...), "--tag", "localhost/built-native", dir)...).ok().says("done in the build")
	c.run("rmi", "localhost/built-native").ok()

	for _, w := range workloads {
		id := c.run("from", "--pull-never", w.image).ok().text()
		run := func(args ...string) result {
			t.Helper()
			argv := append([]string{"run", "--isolation", "oci", "--runtime", runw, "--network", "none", id, "--", w.program}, args...)
			return c.run(argv...)
		}
		run("hello").ok().says(w.hello)
		run("exit", "7").exits(7)
		run("write", "/kept", "in the image").ok()
		run("read", "/kept").ok().says("in the image")
		c.run("commit", id, "localhost/committed-"+w.name).ok()
		c.run("rm", id).ok()
		podman(t).run("run", "--rm", "localhost/committed-"+w.name, "read", "/kept").ok().says("in the image")
		c.run("rmi", "localhost/committed-"+w.name).ok()
	}
}
