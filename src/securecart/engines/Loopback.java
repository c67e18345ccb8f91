// Starts DynamoDB Local on 127.0.0.1. By itself it listens on every network interface and has no option to change that.
//
// Nothing of DynamoDB Local is needed to compile this: it is asked for its parts by name at run time.
// After a change:  javac --release 17 -g:none Loopback.java  (the class file beside this one is what runs)

import java.lang.reflect.Array;
import java.lang.reflect.Field;

public final class Loopback {
    private static final String PACKAGE = "com.amazonaws.services.dynamodbv2.local.";

    public static void main(String[] arguments) throws Exception {
        Object proxy = Class.forName(PACKAGE + "main.ServerRunner")
                .getMethod("createServerFromCommandLineArgs", String[].class)
                .invoke(null, (Object) arguments);
        Field field = Class.forName(PACKAGE + "server.DynamoDBProxyServer").getDeclaredField("server");
        field.setAccessible(true);
        Object server = field.get(proxy);
        Object connectors = server.getClass().getMethod("getConnectors").invoke(server);
        for (int number = 0; number < Array.getLength(connectors); number++) {
            Object connector = Array.get(connectors, number);
            connector.getClass().getMethod("setHost", String.class).invoke(connector, "127.0.0.1");
        }
        proxy.getClass().getMethod("start").invoke(proxy);
    }
}
