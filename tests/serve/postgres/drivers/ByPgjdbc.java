// Asks a PostgreSQL server by the JDBC driver, and prints what it is answered.
//
// Usage: java -cp JARS ByPgjdbc.java PORT KEY ASKS

import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Timer;
import java.util.TimerTask;
import org.postgresql.PGConnection;

public class ByPgjdbc {
    static final String ENDLESS = "select count(*) from generate_series(1, 1000000000000) where value % 7 = 8";
    static final String COPIED = "select ad_id, clicks from clicks_daily where campaign_id = 'spring' order by 1";

    /** How often each is asked: from the second time on it is prepared at the server, and answered in binary. */
    static final int TIMES = 3;

    interface Call {
        Object call() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/clicklake?connectTimeout=20";
        List<?> asks = (List<?>) new Json(Files.readString(Path.of(arguments[2]))).value();
        Map<String, Object> asked = new LinkedHashMap<>();
        Map<String, Object> found = new LinkedHashMap<>(Map.of("asked", asked));
        found.put("wrong_key", code(() -> connect(url, "wrong", "extended").getCatalog()));
        for (String mode : List.of("simple", "extendedCacheEverything", "extended")) {
            try (Connection connection = connect(url, arguments[1], mode)) {
                List<Object> answers = new ArrayList<>();
                for (Object ask : asks) {
                    answers.add(tried(() -> answer(connection, (Map<?, ?>) ask)));
                }
                asked.put(mode, answers);
            }
        }
        try (Connection connection = connect(url, arguments[1], "extended")) {
            found.put("copied", tried(() -> {
                StringWriter to = new StringWriter();
                String copy = "copy (" + COPIED + ") to stdout (format csv, header)";
                connection.unwrap(PGConnection.class).getCopyAPI().copyOut(copy, to);
                return to.toString();
            }));
            Statement statement = connection.createStatement();
            Timer timer = new Timer();
            timer.schedule(new TimerTask() {
                @Override
                public void run() {
                    tried(() -> {
                        statement.cancel();
                        return null;
                    });
                }
            }, 300);
            found.put("cancelled", code(() -> statement.executeQuery(ENDLESS)));
            timer.cancel();
            statement.execute("set statement_timeout to '300ms'");
            found.put("timed_out", code(() -> statement.executeQuery(ENDLESS)));
            found.put("refused", code(() -> statement.executeUpdate("delete from clicks")));
            found.put("unknown", code(() -> statement.executeQuery("select nothing from clicks")));
            found.put("goes_on", tried(() -> goesOn(connection)));
            found.put("own", described(connection));
        }
        System.out.println(json(found));
    }

    static Connection connect(String url, String key, String mode) throws SQLException {
        Properties properties = new Properties();
        properties.put("user", "someone");
        properties.put("password", key);
        properties.put("preferQueryMode", mode);
        properties.put("prepareThreshold", "2");
        return DriverManager.getConnection(url, properties);
    }

    static List<Object> answer(Connection connection, Map<?, ?> ask) throws Exception {
        List<Object> rows = new ArrayList<>();
        try (PreparedStatement statement = connection.prepareStatement(((String) ask.get("sql")).replaceAll("\\$\\d", "?"))) {
            for (int time = 0; time < TIMES; time++) {
                int place = 0;
                for (Object value : (List<?>) ask.get("values")) {
                    place++;
                    bind(connection, statement, place, (List<?>) value);
                }
                rows = rows(statement.executeQuery());
            }
        }
        return rows;
    }

    static void bind(Connection connection, PreparedStatement statement, int place, List<?> typed) throws SQLException {
        Object value = typed.get(1);
        switch ((String) typed.get(0)) {
            case "time" -> statement.setTimestamp(place, value == null ? null : Timestamp.from(Instant.parse((String) value)));
            case "int" -> statement.setInt(place, ((Number) value).intValue());
            case "texts" -> statement.setArray(place, connection.createArrayOf("text", ((List<?>) value).toArray()));
            case "ints" -> statement.setArray(place, connection.createArrayOf("int8", ((List<?>) value).toArray()));
            // As texts with their zone: of a Timestamp in an array it writes none, and means that of this program.
            case "times" -> statement.setArray(place, connection.createArrayOf("timestamptz", ((List<?>) value).toArray()));
            case "text" -> statement.setString(place, (String) value);
            default -> statement.setObject(place, value);
        }
    }

    static List<Object> rows(ResultSet set) throws SQLException {
        List<Object> rows = new ArrayList<>();
        int columns = set.getMetaData().getColumnCount();
        while (set.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= columns; column++) {
                row.add(shown(set.getObject(column)));
            }
            rows.add(row);
        }
        return rows;
    }

    static Object shown(Object value) throws SQLException {
        if (value instanceof Timestamp time) {
            return time.toInstant().toString();
        }
        if (value instanceof Array array) {
            List<Object> all = new ArrayList<>();
            for (Object one : (Object[]) array.getArray()) {
                all.add(shown(one));
            }
            return all;
        }
        return value;
    }

    static Object goesOn(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            Savepoint savepoint = connection.setSavepoint("a");
            code(() -> statement.executeQuery("select nothing from clicks"));
            connection.rollback(savepoint);
            ResultSet set = statement.executeQuery("select 1");
            set.next();
            return set.getInt(1);
        } finally {
            connection.rollback();
            connection.setAutoCommit(true);
        }
    }

    /** What tools ask of the metadata before they show anything: how many rows each answer has, or which. */
    static Map<String, Object> described(Connection connection) throws Exception {
        DatabaseMetaData data = connection.getMetaData();
        Map<String, Object> found = new LinkedHashMap<>();
        String[] kinds = {"TABLE", "VIEW"};
        found.put("tables", tried(() -> column(data.getTables(null, "public", "%", kinds), "TABLE_NAME")));
        found.put("columns", tried(() -> column(data.getColumns(null, "public", "clicks_daily", "c%"), "COLUMN_NAME")));
        found.put("types", tried(() -> column(data.getColumns(null, "public", "clicks_daily", "c%"), "TYPE_NAME")));
        found.put("schemas", tried(() -> column(data.getSchemas(), "TABLE_SCHEM")));
        found.put("primary", tried(() -> column(data.getPrimaryKeys(null, "public", "clicks"), "COLUMN_NAME")));
        found.put("imported", tried(() -> column(data.getImportedKeys(null, "public", "clicks"), "FKCOLUMN_NAME")));
        found.put("exported", tried(() -> column(data.getExportedKeys(null, "public", "clicks"), "FKCOLUMN_NAME")));
        found.put("crossed", tried(() -> column(
            data.getCrossReference(null, "public", "clicks", null, "public", "clicks_daily"), "FKCOLUMN_NAME")));
        found.put("indexes", tried(() -> column(data.getIndexInfo(null, "public", "clicks", false, true), "INDEX_NAME")));
        found.put("best", tried(() -> column(
            data.getBestRowIdentifier(null, "public", "clicks", DatabaseMetaData.bestRowSession, true), "COLUMN_NAME")));
        found.put("procedures", tried(() -> column(data.getProcedures(null, "public", "%"), "PROCEDURE_NAME")));
        found.put("types_of_users", tried(() -> column(data.getUDTs(null, "public", "%", null), "TYPE_NAME")));
        found.put("takes", tried(() -> column(data.getFunctionColumns(null, "pg_catalog", "json_each", "%"), "COLUMN_NAME")));
        found.put("has_types", tried(() -> column(data.getTypeInfo(), "TYPE_NAME").contains("timestamptz")));
        found.put("has_functions", tried(() -> column(data.getFunctions(null, "pg_catalog", "ab%"), "FUNCTION_NAME").contains("abs")));
        found.put("has_databases", tried(() -> column(data.getCatalogs(), "TABLE_CAT").contains("clicklake")));
        found.put("has_privileges", tried(() -> {
            data.getTablePrivileges(null, "public", "clicks").close();
            data.getColumnPrivileges(null, "public", "clicks", "%").close();
            data.getVersionColumns(null, "public", "clicks").close();
            return !data.getSQLKeywords().isEmpty() && !column(data.getTableTypes(), "TABLE_TYPE").isEmpty();
        }));
        found.put("fetched", tried(() -> {
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(5);
                return rows(statement.executeQuery("select ad_id from clicks_minute")).size();
            } finally {
                connection.rollback();
                connection.setAutoCommit(true);
            }
        }));
        found.put("below", tried(() -> {
            List<Object> counts = new ArrayList<>();
            for (Number number : List.of(10.5, new BigDecimal("10.5"), new BigDecimal("0.05"))) {
                String ask = "select count(*) from clicks_minute where clicks < ?";
                try (PreparedStatement statement = connection.prepareStatement(ask)) {
                    statement.setObject(1, number);
                    counts.addAll((List<?>) rows(statement.executeQuery()).get(0));
                }
            }
            return counts;
        }));
        found.put("nullable", tried(() -> {
            try (Statement statement = connection.createStatement()) {
                ResultSet set = statement.executeQuery("select ad_id, campaign_id from clicks_daily where 1 = 0");
                return set.getMetaData().getColumnTypeName(1) + connection.isValid(5) + connection.getSchema();
            }
        }));
        return found;
    }

    static List<Object> column(ResultSet set, String name) throws SQLException {
        List<Object> values = new ArrayList<>();
        while (set.next()) {
            values.add(set.getString(name));
        }
        return values;
    }

    static Object tried(Call call) {
        try {
            return call.call();
        } catch (SQLException error) {
            return error.getSQLState() + ": " + error.getMessage();
        } catch (Exception error) {
            return error.toString();
        }
    }

    static Object code(Call call) {
        try {
            call.call();
            return null;
        } catch (SQLException error) {
            return error.getSQLState();
        } catch (Exception error) {
            return error.toString();
        }
    }

    static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            List<String> parts = new ArrayList<>();
            map.forEach((key, one) -> parts.add(json(key) + ":" + json(one)));
            return "{" + String.join(",", parts) + "}";
        }
        if (value instanceof List<?> list) {
            return "[" + String.join(",", list.stream().map(ByPgjdbc::json).toList()) + "]";
        }
        if (value == null || value instanceof Number || value instanceof Boolean) {
            return String.valueOf(value);
        }
        StringBuilder text = new StringBuilder("\"");
        for (char letter : value.toString().toCharArray()) {
            boolean isPlain = letter >= ' ' && letter < 127 && letter != '"' && letter != '\\';
            text.append(isPlain ? String.valueOf(letter) : String.format("\\u%04x", (int) letter));
        }
        return text.append('"').toString();
    }

    /** Reads JSON, of which Java has no reader of its own. */
    static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        Object value() {
            switch (next()) {
                case '{' -> {
                    Map<String, Object> map = new LinkedHashMap<>();
                    at++;
                    while (next() != '}') {
                        String key = (String) value();
                        next();
                        at++;
                        map.put(key, value());
                        skip();
                    }
                    at++;
                    return map;
                }
                case '[' -> {
                    List<Object> list = new ArrayList<>();
                    at++;
                    while (next() != ']') {
                        list.add(value());
                        skip();
                    }
                    at++;
                    return list;
                }
                case '"' -> {
                    StringBuilder string = new StringBuilder();
                    for (at++; text.charAt(at) != '"'; at++) {
                        at += text.charAt(at) == '\\' ? 1 : 0;
                        string.append(text.charAt(at));
                    }
                    at++;
                    return string.toString();
                }
                default -> {
                    int from = at;
                    while (",]} \n".indexOf(text.charAt(at)) < 0) {
                        at++;
                    }
                    return word(text.substring(from, at));
                }
            }
        }

        private static Object word(String word) {
            return switch (word) {
                case "null" -> null;
                case "true", "false" -> Boolean.valueOf(word);
                default -> word.contains(".") ? (Object) Double.valueOf(word) : (Object) Long.valueOf(word);
            };
        }

        private char next() {
            while (Character.isWhitespace(text.charAt(at))) {
                at++;
            }
            return text.charAt(at);
        }

        private void skip() {
            if (next() == ',') {
                at++;
            }
        }
    }
}
