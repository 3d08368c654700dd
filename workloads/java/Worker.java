// `assay worker` for members of a consumer group, with Kafka's own Java client in the place of librdkafka.
//
// The first line on stdin is a task `members` (workloads/src/worker.rs), then comes `go`, then commands (member/spec.rs), until `quit` or the
// end of stdin. Notes are lines on stdout.

import com.fasterxml.jackson.databind.*;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;

public class Worker {
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream LINES = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

    public static void main(String[] arguments) {
        // Whatever a library prints is nothing that the harness could read.
        System.setOut(System.err);
        int code = 0;
        try {
            host(new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)));
        } catch (Throwable failure) {
            say(Map.of("event", "error", "message", words(failure)));
            code = 3;
        }
        // Threads of a client that did not close in time must not keep the process.
        Runtime.getRuntime().halt(code);
    }

    /** Runs members until nobody commands them any more. */
    static void host(BufferedReader input) throws Exception {
        JsonNode task = JSON.readTree(input.readLine());
        say(Map.of("event", "ready"));
        if (!"go".equals(input.readLine())) return;
        Map<Integer, GroupMember> members = new TreeMap<>();
        List<Thread> threads = new ArrayList<>();
        try {
            for (JsonNode spec : task.get("members")) {
                GroupMember member = new GroupMember(task.get("address").asText(), spec);
                members.put(member.number, member);
                threads.add(new Thread(member, "member-" + member.number));
                threads.get(threads.size() - 1).start();
            }
            for (String line = input.readLine(); line != null && !line.equals("quit"); line = input.readLine()) {
                JsonNode command = JSON.readTree(line);
                GroupMember member = members.get(command.get("member").asInt());
                if (member == null) throw new IllegalArgumentException("the command " + line + " is for nobody in this process");
                // A full queue, or a member that has left, takes nothing: whoever asks sees that nothing came of it.
                member.orders.offer(command);
            }
        } finally {
            members.values().forEach(member -> member.isOver = true);
            for (Thread thread : threads) thread.join();
        }
        for (GroupMember member : members.values())
            if (member.failure != null) throw new IllegalStateException("member " + member.number, member.failure);
        say(Map.of("event", "done", "result", "closed"));
    }

    /** A failure with all of its causes. */
    static String words(Throwable failure) {
        String cause = failure.getCause() == null ? "" : ": " + words(failure.getCause());
        return failure + cause;
    }

    static void say(Object event) {
        try {
            String line = JSON.writeValueAsString(event);
            synchronized (LINES) {
                LINES.println(line);
                LINES.flush();
            }
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
    }
}
